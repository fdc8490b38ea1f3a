//! The compute devices that this binary was built for, and choosing one at run time.
//!
//! Graphics drivers can take the whole process down, so a device is first tried in a process of its own (`probe`).

use std::process::{Command, Stdio};

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};

/// The name of the hidden subcommand that tries a device.
pub const PROBE_COMMAND: &str = "probe-device";

/// A kind of device that this binary knows, best first, with a word on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What `--device` calls it.
    pub name: &'static str,
    /// For the list.
    pub description: &'static str,
}

/// The kinds compiled in, in the order in which `auto` tries them.
pub fn kinds() -> Vec<Kind> {
    let all = [
        (cfg!(feature = "cuda"), "cuda", "NVIDIA graphics cards"),
        (cfg!(feature = "rocm"), "rocm", "AMD graphics cards"),
        (cfg!(feature = "metal"), "metal", "Apple graphics"),
        (cfg!(feature = "vulkan"), "vulkan", "graphics cards through Vulkan"),
        (cfg!(feature = "wgpu"), "wgpu", "graphics cards through WebGPU"),
        (true, "cpu", "this computer's processor"),
    ];
    all.into_iter().filter(|(built, ..)| *built).map(|(_, name, description)| Kind { name, description }).collect()
}

/// A device and what to tell the user of the choice.
#[derive(Debug)]
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// Its name, as `--device` takes it.
    pub name: String,
    /// Why it is another one than hoped for, if it is.
    pub note: Option<String>,
}

impl Chosen {
    /// Whether it is the processor.
    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }
}

/// The device of a name ("cpu", "cuda", "vulkan:1", …); "auto" is the first kind that works.
pub fn choose(name: &str) -> Result<Chosen> {
    if name != "auto" {
        let device = open(name)?;
        if name != "cpu" && !works(name) {
            return Err(Error::Device {
                name: name.into(),
                reason: "it does not answer; see `synlabel devices`".into(),
            });
        }
        return Ok(Chosen { device, name: name.into(), note: None });
    }
    let mut silent = Vec::new();
    for kind in kinds() {
        if kind.name == "cpu" || works(kind.name) {
            let note =
                (!silent.is_empty()).then(|| format!("no answer from {}; using {}", silent.join(", "), kind.name));
            return Ok(Chosen { device: open(kind.name)?, name: kind.name.into(), note });
        }
        silent.push(kind.name);
    }
    Err(Error::Device { name: name.into(), reason: "no device answers".into() })
}

/// Whether a device computes what it should, found out in a process of its own.
pub fn works(name: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet(Command::new(program).args([PROBE_COMMAND, name])).is_ok_and(|status| status.success())
}

/// Convolves ones with ones on a device. May crash where the driver does: some add numbers and fail at convolutions.
pub fn probe(name: &str) -> Result<bool> {
    let device = open(name)?;
    let image = Tensor::<4>::ones([1, 2, 5, 5], &device);
    let kernels = Tensor::<4>::ones([1, 2, 3, 3], &device);
    let sums = conv2d(image, kernels, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1));
    let sums = sums.into_data().convert::<f32>();
    Ok(sums.as_slice::<f32>().is_ok_and(|sums| sums == [18.0; 9]))
}

/// The device of a name, untried.
fn open(name: &str) -> Result<Device> {
    let refuse = |reason: String| Err(Error::Device { name: name.into(), reason });
    let (kind, number) = match name.split_once(':') {
        None => (name, None),
        Some((kind, number)) => match number.parse::<usize>() {
            Ok(number) => (kind, Some(number)),
            Err(_) => return refuse("give it as NAME or NAME:NUMBER, such as cuda:1".into()),
        },
    };
    if !kinds().iter().any(|known| known.name == kind) {
        let names: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
        return refuse(format!("this binary was built for auto, {}", names.join(", ")));
    }
    Ok(match kind {
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(number.unwrap_or(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Device::rocm(number.unwrap_or(0)),
        #[cfg(feature = "metal")]
        "metal" => Device::metal(wgpu_kind(number)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(wgpu_kind(number)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(wgpu_kind(number)),
        "cpu" if number.is_none() => Device::flex(),
        _ => return refuse("the processor has no number: give cpu".into()),
    })
}

#[cfg(any(feature = "metal", feature = "vulkan", feature = "wgpu"))]
fn wgpu_kind(number: Option<usize>) -> burn::tensor::DeviceKind {
    number.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu)
}

/// The card of the kind that this build is for, if one answers, for tests.
///
/// # Panics
/// If none does and `SYNLABEL_REQUIRE_CARD` asks for it.
#[cfg(all(test, feature = "card"))]
pub fn card_for_tests() -> Option<Device> {
    let name = kinds()[0].name;
    // Not in a process of its own: the program is the test.
    let answers = matches!(std::panic::catch_unwind(|| probe(name)), Ok(Ok(true)));
    if !answers {
        assert!(std::env::var_os("SYNLABEL_REQUIRE_CARD").is_none(), "{name} does not answer");
        println!("{name} does not answer: nothing is tested on it");
    }
    answers.then(|| open(name).expect("it was just opened"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_is_refused_with_the_known_ones() {
        let error = choose("abacus").unwrap_err().to_string();
        assert!(error.contains("abacus") && error.contains("cpu"), "{error}");
        assert!(choose("cpu:x").unwrap_err().to_string().contains("NAME:NUMBER"));
    }

    #[test]
    fn the_processor_computes() {
        assert!(probe("cpu").unwrap());
    }
}
