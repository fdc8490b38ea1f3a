//! One training iteration of the segmentation network: losses, clipped gradients, SGD with Nesterov momentum.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use synlabel_kernels::{nesterov, sum_of_squares};

use super::losses::supervise;
use super::patch::Patch;
use crate::imaging::IGNORE;
use crate::nn::Unet;

/// The names of the losses, in the order of [`SegmenterState::advance`].
pub const LOSS_NAMES: [&str; 2] = ["cross_entropy", "dice"];

/// The longest gradient, over all parameters together, that is not shortened.
const GRADIENT_NORM: f64 = 12.0;

/// How weights move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// Nesterov's momentum.
    pub momentum: f64,
    /// Pull towards 0, times the weight, added to the gradient.
    pub weight_decay: f64,
}

impl SgdOptions {
    /// The optimiser without state.
    pub fn optimiser(&self) -> ModuleOptimizer {
        nesterov(self.momentum as f32, self.weight_decay as f32)
    }
}

/// Everything that an iteration changes.
pub struct SegmenterState {
    /// The network, with gradients.
    pub network: Unet,
    /// Its optimiser.
    pub optimiser: ModuleOptimizer,
}

impl SegmenterState {
    /// The state before the first iteration.
    pub fn new(network: Unet, options: &SgdOptions) -> Self {
        Self { network: network.train(), optimiser: options.optimiser() }
    }

    /// One iteration on labelled patches; returns the losses in the order of [`LOSS_NAMES`].
    pub fn advance(&mut self, batch: &Batch, learning_rate: f64) -> [f32; LOSS_NAMES.len()] {
        let heads = self.network.forward_all(batch.images.clone());
        let terms = supervise(heads, batch.truths.clone());
        let values = Tensor::cat(vec![terms.cross_entropy.clone(), terms.dice.clone()], 0);
        let gradients = (terms.cross_entropy + terms.dice).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.network);
        let gradients = clip(&self.network, gradients, GRADIENT_NORM);
        self.network = self.optimiser.step(learning_rate, self.network.clone(), gradients);
        let values = values.into_data().convert::<f32>();
        let values = values.as_slice::<f32>().expect("the data was just converted to f32");
        [values[0], values[1]]
    }
}

/// Labelled patches on the device.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[batch, 1, height, width]`, normalised.
    pub images: Tensor<4>,
    /// For each head, the finest first: `[batch, classes, height / s, width / s]`, 1 at the class of the pixel.
    pub truths: Vec<Tensor<4>>,
}

impl Batch {
    /// Patches of one size with the truth at each head's stride.
    pub fn new(patches: &[Patch], classes: usize, head_strides: &[[usize; 2]], device: &Device) -> Self {
        let (height, width) = (patches[0].height, patches[0].width);
        let intensities = patches.iter().flat_map(|patch| patch.intensities.iter().copied()).collect();
        let tensor = |values: Vec<f32>, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        let truths = head_strides
            .iter()
            .map(|stride| {
                let values = patches.iter().flat_map(|patch| one_hot(patch, classes, *stride)).collect();
                tensor(values, [patches.len(), classes, height / stride[0], width / stride[1]])
            })
            .collect();
        Self { images: tensor(intensities, [patches.len(), 1, height, width]), truths }
    }
}

/// Planes of 0 and 1, one for each class, of every `stride`-th pixel: of each block the one just right and below of its
/// centre, as nnU-Net's nearest-exact interpolation takes. Pixels that nobody judged are 0 in all.
fn one_hot(patch: &Patch, classes: usize, stride: [usize; 2]) -> Vec<f32> {
    let (height, width) = (patch.height / stride[0], patch.width / stride[1]);
    let mut planes = vec![0.0; classes * height * width];
    for y in 0..height {
        for x in 0..width {
            let source = (y * stride[0] + stride[0] / 2) * patch.width + x * stride[1] + stride[1] / 2;
            let label = patch.labels[source];
            if label != IGNORE {
                planes[(usize::from(label) * height + y) * width + x] = 1.0;
            }
        }
    }
    planes
}

/// The gradients, shortened together to a Euclidean norm of at most `longest`.
fn clip(network: &Unet, gradients: GradientsParams, longest: f64) -> GradientsParams {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        squares: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.squares.extend(self.gradients.get::<D>(param.id).map(sum_of_squares));
        }
    }
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, gradient * self.factor);
            }
        }
    }
    let mut norm = Norm { gradients: &gradients, squares: Vec::new() };
    network.visit(&mut norm);
    let length = Tensor::cat(norm.squares, 0).sum().sqrt().into_scalar::<f32>() as f64;
    // Not a number stays one, so that a broken loss is seen.
    if length <= longest {
        return gradients;
    }
    let mut scale = Scale { gradients, factor: longest / (length + 1e-6) };
    network.visit(&mut scale);
    scale.gradients
}

#[cfg(test)]
mod tests {
    use super::super::losses::Terms;
    use super::*;
    use crate::nn::published::Published;
    use crate::nn::{Init, Precision, UnetConfig, published};
    use crate::random::Stream;
    use burn::module::ModuleMapper;

    fn patch(height: usize, width: usize, label: impl Fn(usize, usize) -> u8) -> Patch {
        let labels: Vec<u8> = (0..height * width).map(|i| label(i / width, i % width)).collect();
        let mut stream = Stream::new(5);
        let intensities = labels.iter().map(|label| f32::from(*label) + 0.1 * stream.normal()).collect();
        Patch { height, width, intensities, labels }
    }

    fn tiny() -> UnetConfig {
        UnetConfig::plain(3, vec![4, 6, 6], vec![[1, 1], [2, 2], [2, 1]])
    }

    fn gradient_norm(gradients: &published::HostTensors) -> f64 {
        gradients.values().flat_map(|t| &t.values).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn truths_are_the_labels_at_the_middle_of_each_block() {
        let patch = patch(4, 4, |y, x| ((y + x) % 3) as u8);
        let batch = Batch::new(&[patch], 3, &[[1, 1], [2, 2]], &Device::flex());
        assert_eq!(batch.truths[0].dims(), [1, 3, 4, 4]);
        // Labels at (1, 1), (1, 3), (3, 1), (3, 3): 2, 1, 1, 0.
        let coarse: Vec<f32> = batch.truths[1].clone().into_data().try_into_vec().unwrap();
        assert_eq!(coarse, [[0., 0., 0., 1.], [0., 1., 1., 0.], [1., 0., 0., 0.]].concat());
    }

    #[test]
    fn what_nobody_judged_is_no_class() {
        let patch = patch(2, 2, |y, x| if y == x { IGNORE } else { 1 });
        let batch = Batch::new(&[patch], 3, &[[1, 1]], &Device::flex());
        let planes: Vec<f32> = batch.truths[0].clone().into_data().try_into_vec().unwrap();
        assert_eq!(planes, [[0., 0., 0., 0.], [0., 1., 1., 0.], [0., 0., 0., 0.]].concat());
    }

    /// Moves one parameter along a direction, in f64: in f32 rounding hides small differences of the loss.
    struct Move<'a> {
        parameter: usize,
        direction: &'a [f32],
        step: f64,
        seen: usize,
    }

    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (moves, shape) = (self.seen == self.parameter, param.dims());
            self.seen += 1;
            param.map(|value| {
                let value = value.cast(DType::F64);
                if !moves {
                    return value;
                }
                let direction = TensorData::new(self.direction.to_vec(), shape);
                value.clone() + Tensor::<D>::from_data(direction, &value.device()).cast(DType::F64) * self.step
            })
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = Device::flex();
        let config = tiny();
        let network = config.init(&mut Init::new(Stream::new(1), &device, Precision::F32));
        let patches = [patch(8, 8, |y, _| (y / 3) as u8), patch(8, 8, |y, x| ((y + x) / 5) as u8)];
        let batch = Batch::new(&patches, 3, &config.head_strides(), &device);
        let terms = |network: &Unet, dtype| {
            let truths = batch.truths.iter().map(|truth| truth.clone().cast(dtype)).collect();
            supervise(network.forward_all(batch.images.clone().cast(dtype)), truths)
        };
        let trained = network.clone().train();
        let Terms { cross_entropy, dice } = terms(&trained, DType::F32);
        let gradients = GradientsParams::from_grads((cross_entropy + dice).backward(), &trained);
        let gradients = published::gradients(&trained, &gradients);
        let mut stream = Stream::new(7);
        let mut compared = 0;
        for (place, (_, name)) in network.published_names().iter().enumerate() {
            // The coarsest head is not supervised and has no gradient.
            let Some(gradient) = gradients.get(name) else { continue };
            let direction = stream.normals(gradient.values.len());
            let slope: f64 = gradient.values.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            let loss = |step: f64| {
                let mut mover = Move { parameter: place, direction: &direction, step, seen: 0 };
                let Terms { cross_entropy, dice } = terms(&network.clone().map(&mut mover), DType::F64);
                (cross_entropy + dice).into_scalar::<f64>()
            };
            // So small that hardly a rectifier flips on the way.
            let step = 1e-6;
            let difference = (loss(step) - loss(-step)) / (2.0 * step);
            assert!((difference - slope).abs() < 1e-3 * slope.abs().max(0.01), "{name}: {difference}, {slope}");
            compared += 1;
        }
        assert!(compared > 20);
    }

    #[test]
    fn long_gradients_are_shortened_together_and_short_ones_kept() {
        let device = Device::flex();
        let config = tiny();
        let network = config.init(&mut Init::new(Stream::new(1), &device, Precision::F32)).train();
        let batch = Batch::new(&[patch(8, 8, |y, _| (y / 4) as u8)], 3, &config.head_strides(), &device);
        let gradients = || {
            let terms = supervise(network.forward_all(batch.images.clone()), batch.truths.clone());
            GradientsParams::from_grads((terms.cross_entropy + terms.dice).backward(), &network)
        };
        let before = published::gradients(&network, &gradients());
        let length = gradient_norm(&before);
        let short = published::gradients(&network, &clip(&network, gradients(), length / 10.0));
        assert!((gradient_norm(&short) - length / 10.0).abs() < 1e-4 * length);
        assert_eq!(published::gradients(&network, &clip(&network, gradients(), 2.0 * length)), before);
    }

    #[test]
    fn the_first_steps_are_those_of_nesterov_momentum_with_decay() {
        let device = Device::flex();
        let config = tiny();
        let network = config.init(&mut Init::new(Stream::new(1), &device, Precision::F32));
        let batch = Batch::new(&[patch(8, 8, |y, _| (y / 4) as u8)], 3, &config.head_strides(), &device);
        let (momentum, decay, rate) = (0.9, 0.01, 0.1);
        let mut state = SegmenterState::new(network, &SgdOptions { momentum, weight_decay: decay });
        let mut velocity: Option<Vec<f64>> = None;
        let name = "encoder.stages.0.0.convs.0.conv.weight";
        for _ in 0..2 {
            let before = published::export(&state.network.valid());
            let terms = supervise(state.network.forward_all(batch.images.clone()), batch.truths.clone());
            let gradients = GradientsParams::from_grads((terms.cross_entropy + terms.dice).backward(), &state.network);
            let gradients = published::gradients(&state.network, &gradients);
            state.advance(&batch, rate);
            let after = published::export(&state.network.valid());
            let slopes: Vec<f64> = gradients[name]
                .values
                .iter()
                .zip(&before[name].values)
                .map(|(g, w)| f64::from(*g) + decay * f64::from(*w))
                .collect();
            let v: Vec<f64> = match &velocity {
                None => slopes.clone(),
                Some(old) => old.iter().zip(&slopes).map(|(v, g)| momentum * v + g).collect(),
            };
            for i in 0..slopes.len() {
                let expected = f64::from(before[name].values[i]) - rate * (slopes[i] + momentum * v[i]);
                assert!((f64::from(after[name].values[i]) - expected).abs() < 1e-5);
            }
            velocity = Some(v);
        }
    }
}
