//! Generators trained with the published Python code, saved as a run.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::config::{Preset, TrainConfig};
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::nn::published::{self, HostTensors};
use crate::nn::{Init, Precision};
use crate::random::Stream;
use crate::run::{Progress, RunData, RunFolder};
use crate::syndiff::Generators;
use crate::syndiff::published_options::PublishedGeneratorOptions;
use crate::weights::read_pytorch;

/// What is imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// The checkpoint of the generator into each domain; a direction without one cannot be translated afterwards.
    pub generators: Pair<Option<PathBuf>>,
    /// The published options of the generators.
    pub options: PublishedGeneratorOptions,
    /// Micrometres per pixel at which they were trained, where known.
    pub pixel_size_um: Option<f64>,
}

/// Which generator a published file name speaks of: `gen_diffusive_1_…` makes images of the labelled look.
pub fn domain_of_name(path: &Path) -> Option<Domain> {
    let name = path.file_name()?.to_str()?;
    match name.strip_prefix("gen_diffusive_")?.chars().next()? {
        '1' => Some(Domain::Labelled),
        '2' => Some(Domain::Target),
        _ => None,
    }
}

/// The options in a file: JSON or TOML with the published names, such as `num_channels_dae = 64`.
pub fn read_options(path: &Path) -> Result<PublishedGeneratorOptions> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let refuse = |reason: String| Error::weights(path, format!("the options are not understood ({reason})"));
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text).map_err(|error| refuse(error.to_string()));
    }
    toml::from_str(&text).map_err(|error| refuse(error.to_string()))
}

/// Loads the generators and saves them as a run in `root`.
pub fn import(root: &Path, import: &Import) -> Result<RunFolder> {
    RunFolder::refuse_existing(root)?;
    let mut config = TrainConfig::preset(Preset::Paper);
    config.networks.crop = import.options.image_size;
    config.networks.generator = import.options.to_config()?;
    config.networks.generator.check(config.networks.crop)?;
    config.pixel_size_um = import.pixel_size_um.unwrap_or(0.0);
    let device = Device::flex();
    let mut init = Init::new(Stream::new(config.seed), &device, Precision::F32);
    let generators = Generators::new(&config.networks, &mut init);
    let diffusive = Pair::try_from_fn(|domain| {
        let network = generators.diffusive_to(domain).clone();
        match import.generators.of(domain) {
            None => Ok(network),
            Some(path) => {
                let tensors: HostTensors = read_pytorch(path)?;
                published::load(network, tensors).map_err(|reason| {
                    Error::weights(
                        path,
                        format!("it is of a network with other options: {reason}; give them with --config"),
                    )
                })
            }
        }
    })?;
    let translators = Pair::from_fn(|domain| generators.translator_to(domain).clone());
    let generators = generators.with(diffusive, translators);
    let data = RunData {
        pixel_size_um: import.pixel_size_um,
        translates_to: Some(import.generators.map(Option::is_some)),
        ..RunData::default()
    };
    let run = RunFolder::create(root, &config, &data)?;
    run.save_generators(&generators, &Progress::new(config.seed))?;
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference_generator_error;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    #[test]
    fn an_imported_checkpoint_computes_the_published_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let options = folder.path().join("options.json");
        let (_, metadata) = crate::weights::read_safetensors(&golden("ncsnpp_tiny.safetensors")).unwrap();
        std::fs::write(&options, &metadata["config"]).unwrap();
        let checkpoint = golden("gen_diffusive_1_10.pth");
        let job = Import {
            generators: Pair { labelled: Some(checkpoint.clone()), target: None },
            options: read_options(&options).unwrap(),
            pixel_size_um: None,
        };
        let root = folder.path().join("run");
        import(&root, &job).unwrap();
        let run = RunFolder::open(&root).unwrap();
        let (generators, _) = run.load_generators(crate::run::Which::Best, &Device::flex()).unwrap();
        let network = generators.diffusive_to(Domain::Labelled);
        let error = reference_generator_error(&golden("ncsnpp_tiny.safetensors"), network).unwrap();
        assert!(error < 1e-4, "{error}");

        let wrong = Import { options: PublishedGeneratorOptions::default(), ..job };
        let error = import(&folder.path().join("other"), &wrong).unwrap_err().to_string();
        assert!(error.contains("gen_diffusive_1_10.pth") && error.contains("--config"), "{error}");
    }

    #[test]
    fn the_published_file_name_tells_the_direction() {
        assert_eq!(domain_of_name(Path::new("a/gen_diffusive_1_500.pth")), Some(Domain::Labelled));
        assert_eq!(domain_of_name(Path::new("gen_diffusive_2_500.pth")), Some(Domain::Target));
        assert_eq!(domain_of_name(Path::new("generator.pth")), None);
    }

    #[test]
    fn a_truncated_checkpoint_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gen_diffusive_1_10.pth");
        let bytes = std::fs::read(golden("gen_diffusive_1_10.pth")).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_pytorch(&path).unwrap_err().to_string();
        assert!(error.contains("gen_diffusive_1_10.pth") && error.contains("complete"), "{error}");
    }
}
