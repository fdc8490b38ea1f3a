//! Replays files of golden numbers: does this build, on this device, compute what the published networks compute?
//!
//! A file is recognised by the prefix of its name; sizes and options come from its own metadata.

mod golden;
mod networks;
mod training;

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::error::{Error, Result};
use golden::{Golden, Worst};

/// What the replay of one file showed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// The checks made, such as outputs and gradients.
    pub checks: Vec<Check>,
}

/// The worst disagreement of one kind in a file.
#[derive(Debug, Clone)]
pub struct Check {
    /// What was compared: "outputs", "gradients", "losses", "updates".
    pub what: &'static str,
    /// The worst relative error ‖ours − theirs‖/‖theirs‖.
    pub error: f64,
    /// The tensor that has it.
    pub tensor: String,
    /// The largest error allowed.
    pub tolerance: f64,
}

impl Check {
    /// Whether the error is within the tolerance (an error that is no number is not).
    pub fn passes(&self) -> bool {
        self.error <= self.tolerance
    }

    fn new(what: &'static str, worst: Worst, tolerance: f64) -> Self {
        Self { what, error: worst.error, tensor: worst.tensor, tolerance }
    }
}

impl Report {
    /// Whether all checks pass.
    pub fn passes(&self) -> bool {
        self.checks.iter().all(Check::passes)
    }
}

type Replay = fn(&Golden, &Device) -> std::result::Result<Vec<Check>, String>;

/// Which replay belongs to which prefix of a file name.
const REPLAYS: [(&str, Replay); 8] = [
    ("ncsnpp_", networks::diffusive_generator),
    ("disc_large_", |golden, device| networks::time_discriminator(golden, device, crate::nn::DiscriminatorSize::Large)),
    ("disc_small_", |golden, device| networks::time_discriminator(golden, device, crate::nn::DiscriminatorSize::Small)),
    ("resnet", networks::translator),
    ("patchgan", networks::patch_discriminator),
    ("fir_resampling", networks::resampling),
    ("train_step", training::iterations),
    ("metrics", networks::metrics),
];

/// The golden files inside the binary: one of each kind that is small.
const BUILT_IN: [(&str, &[u8]); 5] = [
    ("fir_resampling.safetensors", include_bytes!("../../tests/golden/fir_resampling.safetensors")),
    ("metrics.safetensors", include_bytes!("../../tests/golden/metrics.safetensors")),
    ("patchgan_tiny.safetensors", include_bytes!("../../tests/golden/patchgan_tiny.safetensors")),
    ("disc_small_b2.safetensors", include_bytes!("../../tests/golden/disc_small_b2.safetensors")),
    ("ncsnpp_tiny.safetensors", include_bytes!("../../tests/golden/ncsnpp_tiny.safetensors")),
];

/// Replays the set built into the binary.
pub fn built_in(device: &Device) -> Result<Vec<Report>> {
    BUILT_IN.iter().map(|(name, bytes)| replay(Path::new(name), bytes, device)).collect()
}

/// The golden files of a folder, by name, and the other safetensors files in it, which no replay knows.
pub fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = std::fs::read_dir(dir).map_err(Error::io("list", dir))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    files.sort();
    let (known, unknown): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| replay_for(path).is_some());
    if known.is_empty() {
        let prefixes: Vec<&str> = REPLAYS.iter().map(|(prefix, _)| *prefix).collect();
        return Err(Error::weights(
            dir,
            format!("it holds no golden file (names start with {} and end in .safetensors)", prefixes.join(", ")),
        ));
    }
    Ok((known, unknown))
}

/// Replays one file of golden numbers on a device.
pub fn file(path: &Path, device: &Device) -> Result<Report> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    replay(path, &bytes, device)
}

/// The relative error of a generator's outputs against those of a golden file, whatever its weights came from.
pub fn reference_generator_error(path: &Path, network: &crate::nn::DiffusiveGenerator) -> Result<f64> {
    let refuse = |reason: String| Error::weights(path, reason);
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let golden = Golden::parse(&bytes).map_err(refuse)?;
    networks::generator_output_error(&golden, network, &Device::flex()).map_err(refuse)
}

fn replay_for(path: &Path) -> Option<Replay> {
    let name = path.file_name()?.to_str()?;
    REPLAYS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, replay)| *replay)
}

fn replay(path: &Path, bytes: &[u8], device: &Device) -> Result<Report> {
    let refuse = |reason: String| Error::weights(path, reason);
    let replay = replay_for(path).ok_or_else(|| refuse("its name has no known prefix".into()))?;
    let golden = Golden::parse(bytes).map_err(refuse)?;
    let checks = replay(&golden, device).map_err(refuse)?;
    Ok(Report { file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), checks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(name: &str) {
        passes_on(name, &Device::flex());
    }

    fn passes_on(name: &str, device: &Device) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let report = file(&path, device).unwrap();
        for check in &report.checks {
            println!(
                "{name}: {} {:.2e} (allowed {:.0e}) in {}",
                check.what, check.error, check.tolerance, check.tensor
            );
        }
        assert!(!report.checks.is_empty());
        assert!(report.passes(), "{report:?}");
    }

    #[test]
    fn fir_resampling_agrees_with_the_published_numbers() {
        passes("fir_resampling.safetensors");
    }

    #[test]
    fn the_generator_agrees_with_the_published_numbers() {
        passes("ncsnpp_tiny.safetensors");
        passes("ncsnpp_plain.safetensors");
        passes("ncsnpp_nofir_residual.safetensors");
    }

    #[test]
    fn the_time_discriminator_and_its_r1_gradient_agree_with_the_published_numbers() {
        passes("disc_large_b2.safetensors");
        passes("disc_large_b4.safetensors");
        passes("disc_small_b2.safetensors");
    }

    #[test]
    fn translator_and_patch_discriminator_agree_with_the_published_numbers() {
        passes("resnet6_tiny.safetensors");
        passes("patchgan_tiny.safetensors");
    }

    #[test]
    fn three_whole_training_iterations_agree_with_the_published_numbers() {
        passes("train_step.safetensors");
    }

    #[cfg(feature = "card")]
    #[test]
    fn networks_and_training_iterations_agree_on_a_card() {
        let Some(device) = crate::device::card_for_tests() else { return };
        for name in ["ncsnpp_tiny", "resnet6_tiny", "patchgan_tiny", "disc_small_b2", "disc_large_b4", "train_step"] {
            passes_on(&format!("{name}.safetensors"), &device);
        }
    }

    #[test]
    fn image_metrics_agree_with_the_published_numbers() {
        passes("metrics.safetensors");
    }

    #[test]
    fn a_changed_number_fails_the_replay() {
        let (name, bytes) = BUILT_IN[0];
        let mut bytes = bytes.to_vec();
        // The last value of the last tensor.
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&1e3f32.to_le_bytes());
        assert!(!replay(Path::new(name), &bytes, &Device::flex()).unwrap().passes());
    }

    #[test]
    fn a_truncated_file_is_refused_with_its_name() {
        let (name, bytes) = BUILT_IN[0];
        let error = replay(Path::new(name), &bytes[..1000], &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("complete"), "{error}");
    }
}
