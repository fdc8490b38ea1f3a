//! Replays of single networks, of resampling and of image metrics.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor};
use serde::Deserialize;
use synlabel_kernels::resize;

use super::Check;
use super::golden::{Golden, Outcome, Worst, norm, to_host};
use crate::imaging::Plane;
use crate::losses;
use crate::nn::published::{self, HostTensors, Published};
use crate::nn::resample::{Resampling, blur_for_strided_conv};
use crate::nn::{Cast, DiscriminatorSize, Init, Precision};
use crate::random::Stream;
use crate::syndiff::published_options::{
    PublishedGeneratorOptions, PublishedPatchDiscriminatorOptions, PublishedTimeDiscriminatorOptions,
    PublishedTranslatorOptions,
};

const OUTPUT_TOLERANCE: f64 = 1e-4;
const GRADIENT_TOLERANCE: f64 = 1e-3;
/// With the tolerance above, differences below the f32 rounding (1e-7) of the largest gradient count as none.
const ROUNDING_FLOOR: f64 = 1e-4;
/// The R1 gradient is held to [`GRADIENT_TOLERANCE`] as one vector over all parameters. Single small tensors of it are
/// ill-conditioned: in groups of two the minibatch deviation is √((x₁ − x₂)²/4 + 1e-8), whose curvature sits within
/// |x₁ − x₂| < 2e-4, where f32 has lost most digits. In f64 our gradient of the first bias of `disc_small_b2` differs
/// from the golden one by 9e-3, so that much is the golden file's own rounding.
const R1_TENSOR_TOLERANCE: f64 = 5e-2;
const R1_ROUNDING_FLOOR: f64 = 1e-2;

/// An initialiser whose numbers are all replaced afterwards.
pub fn any_init(device: &Device) -> Init {
    Init::new(Stream::new(0), device, Precision::F32)
}

/// Compares gradients by name. Some are zero in exact arithmetic (an attention's key bias shifts all weights of a query
/// alike; an instance norm subtracts a bias again) and what is computed is rounding. So the error is taken relative to
/// the tensor's norm, but to no less than `floor` of the largest gradient's.
fn compare_gradients(ours: &HostTensors, theirs: &HostTensors, prefix: &str, floor: f64, worst: &mut Worst) {
    let largest = theirs.values().map(|tensor| norm(&tensor.values)).fold(0.0, f64::max);
    for (name, theirs) in theirs {
        let name_here = format!("{prefix}{name}");
        match ours.get(name) {
            Some(ours) => worst.compare(&name_here, ours, theirs, floor * largest),
            // What a loss does not depend on has no gradient here and a gradient of zero there.
            None if norm(&theirs.values) == 0.0 => worst.take(&name_here, 0.0),
            None => worst.take(&name_here, f64::INFINITY),
        }
    }
}

/// ‖ours − theirs‖/‖theirs‖ over all tensors as one vector.
fn distance_of_all(ours: &HostTensors, theirs: &HostTensors) -> f64 {
    let (mut difference, mut scale) = (0.0, 0.0);
    for (name, theirs) in theirs {
        let zeros = vec![0.0; theirs.values.len()];
        let ours = ours.get(name).map_or(&zeros, |tensor| &tensor.values);
        difference += ours.iter().zip(&theirs.values).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>();
        scale += norm(&theirs.values).powi(2);
    }
    (difference / scale).sqrt()
}

/// The checks of a network that maps one image tensor to one: output, and gradients of Σ y·dy.
fn image_network<N: Published>(
    golden: &Golden,
    network: N,
    device: &Device,
    forward: impl Fn(&N, Tensor<4>) -> Tensor<4>,
) -> Outcome<Vec<Check>> {
    let network = published::load(network, golden.under("weights."))?.train();
    let x = golden.tensor::<4>("input.x", device)?.autodiff().require_grad();
    let y = forward(&network, x.clone());
    let mut outputs = Worst::default();
    outputs.compare("output.y", &to_host(y.clone().without_autodiff()), golden.host("output.y")?, 0.0);

    let mut gradients = (y * golden.tensor::<4>("input.dy", device)?).sum().backward();
    let x_gradient = x.grad_remove(&mut gradients).ok_or("the output does not depend on the input")?;
    let gradients = GradientsParams::from_grads(gradients, &network);
    let mut ours = published::gradients(&network, &gradients);
    ours.insert("x".into(), to_host(x_gradient));
    let mut worst = Worst::default();
    compare_gradients(&ours, &golden.under("grad."), "grad.", ROUNDING_FLOOR, &mut worst);
    Ok(vec![Check::new("outputs", outputs, OUTPUT_TOLERANCE), Check::new("gradients", worst, GRADIENT_TOLERANCE)])
}

pub fn diffusive_generator(golden: &Golden, device: &Device) -> Outcome<Vec<Check>> {
    let options: PublishedGeneratorOptions = golden.metadata("config")?;
    let config = options.to_config().map_err(|error| error.to_string())?;
    config.check(options.image_size).map_err(|error| error.to_string())?;
    let network = config.init(options.image_size, &mut any_init(device));
    let times = golden.values("input.t")?;
    let latent = golden.tensor::<2>("input.z", device)?;
    let forward = |network: &crate::nn::DiffusiveGenerator, x| network.forward_raw(x, times, latent.clone());
    image_network(golden, network, device, forward)
}

/// The relative error of a generator's output for the inputs of a golden file.
pub fn generator_output_error(
    golden: &Golden,
    network: &crate::nn::DiffusiveGenerator,
    device: &Device,
) -> Outcome<f64> {
    let times = golden.values("input.t")?;
    let latent = golden.tensor::<2>("input.z", device)?;
    let y = network.forward_raw(golden.tensor::<4>("input.x", device)?, times, latent);
    let mut worst = Worst::default();
    worst.compare("output.y", &to_host(y), golden.host("output.y")?, 0.0);
    Ok(worst.error)
}

pub fn translator(golden: &Golden, device: &Device) -> Outcome<Vec<Check>> {
    let options: PublishedTranslatorOptions = golden.metadata("config")?;
    let network = options.to_config().init(&mut any_init(device));
    image_network(golden, network, device, crate::nn::Translator::forward)
}

pub fn patch_discriminator(golden: &Golden, device: &Device) -> Outcome<Vec<Check>> {
    let options: PublishedPatchDiscriminatorOptions = golden.metadata("config")?;
    let network = options.to_config().init(&mut any_init(device));
    image_network(golden, network, device, crate::nn::PatchDiscriminator::forward)
}

#[derive(Deserialize)]
struct RegularisedDiscriminator {
    #[serde(flatten)]
    network: PublishedTimeDiscriminatorOptions,
    r1_gamma: f64,
}

pub fn time_discriminator(golden: &Golden, device: &Device, size: DiscriminatorSize) -> Outcome<Vec<Check>> {
    let options: RegularisedDiscriminator = golden.metadata("config")?;
    let network = options.network.to_config().init(size, &mut any_init(device));
    let network = published::load(network, golden.under("weights."))?.train();
    let x = golden.tensor::<4>("input.x", device)?;
    let x_next = golden.tensor::<4>("input.x_t", device)?;
    let steps = golden.values("input.t")?;

    let logits = network.forward(x.clone(), steps, x_next.clone());
    let input_gradient = network.input_gradient(x.clone(), steps, x_next.clone());
    let loss = losses::real(logits.clone());
    // The file's r1 is the mean squared norm itself, without γ/2.
    let penalty = losses::r1(input_gradient.clone(), 2.0);
    let mut outputs = Worst::default();
    outputs.compare("output.logits", &to_host(logits.without_autodiff()), golden.host("output.logits")?, 0.0);
    outputs.compare(
        "output.loss_real",
        &to_host(loss.clone().without_autodiff()),
        golden.host("output.loss_real")?,
        0.0,
    );
    outputs.compare("output.r1", &to_host(penalty), golden.host("output.r1")?, 0.0);

    let mut gradients = Worst::default();
    gradients.compare("output.grad_x", &to_host(input_gradient.clone()), golden.host("output.grad_x")?, 0.0);
    let loss_gradients = published::gradients(&network, &GradientsParams::from_grads(loss.backward(), &network));
    compare_gradients(&loss_gradients, &golden.under("loss_grad."), "loss_grad.", ROUNDING_FLOOR, &mut gradients);

    // In f64 where the device has it, for the reason given at the tolerances.
    let dtype = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let network = network.valid().map(&mut Cast(dtype)).train();
    let (x, x_next) = (x.cast(dtype), x_next.cast(dtype));
    let input_gradient = network.input_gradient(x.clone(), steps, x_next.clone());
    let (_, change) = network.forward_dual(x, input_gradient, steps, x_next);
    let surrogate = losses::r1_surrogate(change, options.r1_gamma);
    let ours = published::gradients(&network, &GradientsParams::from_grads(surrogate.backward(), &network));
    let theirs = golden.under("r1_grad.");
    let (mut whole, mut by_tensor) = (Worst::default(), Worst::default());
    whole.take("r1_grad.*", distance_of_all(&ours, &theirs));
    compare_gradients(&ours, &theirs, "r1_grad.", R1_ROUNDING_FLOOR, &mut by_tensor);
    Ok(vec![
        Check::new("outputs", outputs, OUTPUT_TOLERANCE),
        Check::new("gradients", gradients, GRADIENT_TOLERANCE),
        Check::new("R1 gradient", whole, GRADIENT_TOLERANCE),
        Check::new("R1 gradient by tensor", by_tensor, R1_TENSOR_TOLERANCE),
    ])
}

pub fn resampling(golden: &Golden, device: &Device) -> Outcome<Vec<Check>> {
    let x = golden.tensor::<4>("x", device)?;
    let weight = golden.tensor::<4>("w", device)?;
    let strided = ConvOptions::new([2, 2], [0, 0], [1, 1], 1);
    let down = conv2d(blur_for_strided_conv(x.clone()), weight, None, strided);
    let mut worst = Worst::default();
    worst.compare("up2", &to_host(resize(x.clone(), Resampling::Fir.up())), golden.host("up2")?, 0.0);
    worst.compare("down2", &to_host(resize(x, Resampling::Fir.down())), golden.host("down2")?, 0.0);
    worst.compare("conv_down", &to_host(down), golden.host("conv_down")?, 0.0);
    Ok(vec![Check::new("outputs", worst, OUTPUT_TOLERANCE)])
}

#[derive(Deserialize)]
struct ExpectedMetrics {
    ssim: f64,
    psnr: f64,
    l1: f64,
}

/// Image metrics are computed on the host, whatever the device.
pub fn metrics(golden: &Golden, _device: &Device) -> Outcome<Vec<Check>> {
    let expected: BTreeMap<String, ExpectedMetrics> = golden.metadata("expected")?;
    let mut worst = Worst::default();
    for (index, expected) in expected {
        let plane = |side: &str| -> Outcome<Plane> {
            let tensor = golden.host(&format!("{index}.{side}"))?;
            let [height, width] = tensor.shape[..] else { return Err(format!("{index}.{side} is no image")) };
            Ok(Plane::new(height, width, tensor.values.clone()))
        };
        let (a, b) = (plane("a")?, plane("b")?);
        let ssim = crate::metrics::ssim(&a, &b).ok_or_else(|| format!("pair {index} is too small for SSIM"))?;
        let pairs = [
            ("ssim", ssim, expected.ssim),
            ("psnr", crate::metrics::psnr(&a, &b), expected.psnr),
            ("l1", crate::metrics::l1(&a, &b), expected.l1),
        ];
        for (name, ours, theirs) in pairs {
            worst.take(&format!("{index}.{name}"), (ours - theirs).abs() / theirs.abs());
        }
    }
    Ok(vec![Check::new("outputs", worst, OUTPUT_TOLERANCE)])
}
