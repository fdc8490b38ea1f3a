//! Convolutions, linear maps and the time embedding, with the initialisations of the published networks.
//!
//! Weights are drawn on the host from a [`Stream`], so that a seed gives the same network on every device.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Border, Products, Residual, convolve, convolve_residual, convolve_transposed, map_channels};

use crate::random::Stream;

/// The number format in which convolutions and linear maps multiply. Everything else (norms, losses, weights,
/// optimiser) stays in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// bfloat16 products: the range of f32 with 8 bits of mantissa; needs no loss scaling.
    Bf16,
}

impl Precision {
    fn products(self) -> Products {
        match self {
            Self::F32 => Products::F32,
            Self::Bf16 => Products::Bf16,
        }
    }
}

/// How the weights of a layer are spread before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Uniform within ±√(3·scale / ((fan_in + fan_out)/2)); a scale of 0 stands for 1e-10.
    FanAverage(f64),
    /// Uniform within ±√(3·scale / fan_out); a scale of 0 stands for 1e-10.
    FanOut(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// Brings all parameters of a network to another number format: `network.map(&mut Cast(DType::F64))`.
pub struct Cast(pub DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// Has cheap operations on the parameters of a network, and on what comes of them, done once more on the way back instead
/// of keeping their results.
pub struct Recompute;

impl ModuleMapper for Recompute {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced))
    }
}

/// Where the weights of new layers come from and where they go.
#[derive(Debug)]
pub struct Init {
    stream: Stream,
    device: Device,
    precision: Precision,
}

impl Init {
    /// Draws from `stream`, creates on `device`; layers multiply in `precision`.
    pub fn new(stream: Stream, device: &Device, precision: Precision) -> Self {
        Self { stream, device: device.clone(), precision }
    }

    /// A parameter of this shape.
    pub fn param<const D: usize>(
        &mut self,
        shape: [usize; D],
        fan_in: usize,
        fan_out: usize,
        spread: Spread,
    ) -> Param<Tensor<D>> {
        let fan = match spread {
            Spread::FanAverage(_) => (fan_in + fan_out) as f64 / 2.0,
            _ => fan_out as f64,
        };
        let values = (0..shape.iter().product())
            .map(|_| match spread {
                Spread::FanAverage(scale) | Spread::FanOut(scale) => {
                    let limit = (3.0 * scale.max(1e-10) / fan).sqrt();
                    self.stream.between(-limit, limit) as f32
                }
                Spread::Normal(deviation) => self.stream.normal() * deviation as f32,
            })
            .collect::<Vec<_>>();
        self.given(values, shape)
    }

    /// A parameter with these values. Its identity is drawn as well: Burn's own is random, and two runs from one seed
    /// would write different checkpoints.
    pub fn given<const D: usize>(&mut self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        let (_, value, mapper) = Param::from_data(TensorData::new(values, shape), &self.device).consume();
        Param::from_mapped_value(ParamId::from(self.stream.bits()), value, mapper)
    }

    /// A 2D convolution with a square kernel and bias 0.
    pub fn conv(&mut self, channels: [usize; 2], kernel: usize, spread: Spread) -> Conv {
        self.oblong_conv(channels, [kernel; 2], spread)
    }

    /// A 2D convolution with a kernel of height and width and bias 0.
    pub fn oblong_conv(
        &mut self,
        [channels_in, channels_out]: [usize; 2],
        [height, width]: [usize; 2],
        spread: Spread,
    ) -> Conv {
        let area = height * width;
        Conv {
            weight: self.param(
                [channels_out, channels_in, height, width],
                channels_in * area,
                channels_out * area,
                spread,
            ),
            bias: Some(self.given(vec![0.0; channels_out], [channels_out])),
            stride: [1, 1],
            padding: [height / 2, width / 2],
            precision: self.precision,
        }
    }

    /// A transposed 2D convolution with kernel 3 and bias 0 that doubles height and width.
    pub fn transposed_conv(&mut self, channels: [usize; 2], spread: Spread) -> TransposedConv {
        self.enlarging_conv(channels, [3, 3], [2, 2], 1, spread)
    }

    /// A transposed 2D convolution whose kernel is its stride, with bias 0: each pixel becomes a block of `stride`.
    pub fn unpooling_conv(&mut self, channels: [usize; 2], stride: [usize; 2], spread: Spread) -> TransposedConv {
        self.enlarging_conv(channels, stride, stride, 0, spread)
    }

    fn enlarging_conv(
        &mut self,
        [channels_in, channels_out]: [usize; 2],
        [height, width]: [usize; 2],
        stride: [usize; 2],
        padding: usize,
        spread: Spread,
    ) -> TransposedConv {
        let area = height * width;
        TransposedConv {
            weight: self.param(
                [channels_in, channels_out, height, width],
                channels_in * area,
                channels_out * area,
                spread,
            ),
            bias: Some(self.given(vec![0.0; channels_out], [channels_out])),
            stride,
            padding,
            precision: self.precision,
        }
    }

    /// A linear map with bias 0.
    pub fn linear(&mut self, features_in: usize, features_out: usize, spread: Spread) -> Linear {
        Linear {
            weight: self.param([features_in, features_out], features_in, features_out, spread),
            bias: self.given(vec![0.0; features_out], [features_out]),
            precision: self.precision,
        }
    }
}

/// A 2D convolution with zero padding.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[channels_out, channels_in, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    padding: [usize; 2],
    #[module(skip)]
    precision: Precision,
}

impl Conv {
    /// The same layer with another stride and zero padding on both axes (the padding starts at half the kernel).
    pub fn strided(self, stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], ..self }
    }

    /// The same layer with another stride for each axis, its padding still half the kernel.
    pub fn with_stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// The same layer without bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// Convolves.
    ///
    /// # Shapes
    /// - input: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, height_out, width_out]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, self.bias_row(), self.padding, Border::Zero)
    }

    /// Convolves and adds to each channel of each image a summand of its own.
    ///
    /// # Shapes
    /// - summand: `[batch, channels_out]`
    pub fn forward_shifted(&self, x: Tensor<4>, summand: Tensor<2>) -> Tensor<4> {
        let summand = match self.bias_row() {
            Some(bias) => summand + bias,
            None => summand,
        };
        self.convolve(x, Some(summand), self.padding, Border::Zero)
    }

    /// (rest + convolution)·factor, without stride.
    ///
    /// # Shapes
    /// - rest, output: `[batch, channels_out, height_out, width_out]`
    pub fn forward_residual(&self, x: Tensor<4>, rest: Tensor<4>, factor: f64) -> Tensor<4> {
        assert_eq!(self.stride, [1, 1], "a residual is added to convolutions without stride");
        let (residual, products) = (Residual { rest, factor }, self.precision.products());
        convolve_residual(x, self.weight.val(), self.bias_row(), residual, self.padding, products)
    }

    /// Convolves and adds no bias: how a change of the input changes the output.
    pub fn forward_tangent(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, None, self.padding, Border::Zero)
    }

    /// Convolves the image continued by its mirror image by half a kernel, instead of by the layer's own padding.
    pub fn forward_mirrored(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = self.weight.dims();
        self.convolve(x, self.bias_row(), [height / 2, width / 2], Border::Reflect)
    }

    /// `[1, channels_out]`
    fn bias_row(&self) -> Option<Tensor<2>> {
        self.bias.as_ref().map(|bias| bias.val().unsqueeze())
    }

    fn convolve(&self, x: Tensor<4>, bias: Option<Tensor<2>>, padding: [usize; 2], border: Border) -> Tensor<4> {
        convolve(x, self.weight.val(), bias, self.stride, padding, border, self.precision.products())
    }
}

/// A transposed 2D convolution that multiplies height and width by its stride. Its output padding is its padding, which
/// for kernel 3 and stride 2 gives exactly twice the size.
#[derive(Module, Debug)]
pub struct TransposedConv {
    /// `[channels_in, channels_out, kernel height, kernel width]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    padding: usize,
    #[module(skip)]
    precision: Precision,
}

impl TransposedConv {
    /// The same layer without bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// Enlarges.
    ///
    /// # Shapes
    /// - input: `[batch, channels_in, height, width]`
    /// - output: `[batch, channels_out, stride * height, stride * width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (padding, products) = ([self.padding; 2], self.precision.products());
        let bias = self.bias.as_ref().map(Param::val);
        convolve_transposed(x, self.weight.val(), bias, self.stride, padding, padding, products)
    }
}

/// A linear map, its weight stored as the product needs it (PyTorch stores the transpose).
#[derive(Module, Debug)]
pub struct Linear {
    /// `[features_in, features_out]`
    pub weight: Param<Tensor<2>>,
    /// `[features_out]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
}

impl Linear {
    /// x·W + b.
    ///
    /// # Shapes
    /// - input: `[rows, features_in]`
    /// - output: `[rows, features_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_tangent(x) + self.bias.val().unsqueeze()
    }

    /// Of the channels of each pixel.
    ///
    /// # Shapes
    /// - input: `[batch, features_in, height, width]`
    /// - output: `[batch, features_out, height, width]`
    pub fn forward_pixels(&self, x: Tensor<4>) -> Tensor<4> {
        map_channels(x, self.weight.val(), self.bias.val(), self.precision.products())
    }

    /// x·W: how a change of the input changes the output.
    pub fn forward_tangent(&self, x: Tensor<2>) -> Tensor<2> {
        let products = self.precision.products();
        products.raise(products.lower(x).matmul(products.lower(self.weight.val())))
    }
}

/// A tensor of numbers known on the host, on the device and in the number format of the tensor that it will meet.
pub fn constant<const D: usize, const E: usize>(values: Vec<f32>, shape: [usize; D], like: &Tensor<E>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (&like.device(), like.dtype()))
}

/// Sinusoidal embedding of the times of a batch: \[sin(t·f), cos(t·f)\] with f_i = exp(−i·ln 10000/(half − 1)), half =
/// `width`/2; on the device of `like`.
///
/// Made on the host: the sines of graphics cards may be off by 2^-11.
///
/// # Shapes
/// - output: `[batch, width]`
pub fn sinusoidal_embedding<const D: usize>(times: &[f32], width: usize, like: &Tensor<D>) -> Tensor<2> {
    let half = width / 2;
    let frequency = |i: usize| (-(i as f64) * 10000f64.ln() / (half - 1) as f64).exp() as f32;
    let mut values = Vec::with_capacity(times.len() * width);
    for time in times {
        let angles = (0..half).map(|i| f64::from(time * frequency(i)));
        values.extend(angles.clone().map(|angle| angle.sin() as f32));
        values.extend(angles.map(|angle| angle.cos() as f32));
    }
    constant(values, [times.len(), 2 * half], like)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::GradientsParams;

    fn difference(a: Tensor<4>, b: Tensor<4>) -> f32 {
        ((a - b.clone()).square().sum().sqrt() / b.square().sum().sqrt()).into_scalar::<f32>()
    }

    #[test]
    fn mixed_precision_stays_near_f32_and_keeps_f32_outside_the_products() {
        let device = Device::flex();
        let conv = |precision| Init::new(Stream::new(1), &device, precision).conv([3, 8], 3, Spread::FanAverage(1.0));
        let (full, mixed) = (conv(Precision::F32).train(), conv(Precision::Bf16).train());
        let values = Stream::new(2).normals(3 * 16 * 16);
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 3, 16, 16]), &device);
        let (y, y_mixed) = (full.forward(x.clone()), mixed.forward(x));
        assert_eq!(y_mixed.dtype(), DType::F32);
        let error = difference(y_mixed.clone().without_autodiff(), y.clone().without_autodiff());
        // bf16 has 8 bits of mantissa; an error of zero would mean that nothing was lowered.
        assert!(error > 1e-5 && error < 1e-2, "{error}");
        let gradient = |y: Tensor<4>, conv: &Conv| {
            let gradients = GradientsParams::from_grads(y.square().sum().backward(), conv);
            gradients.get::<4>(conv.weight.id).expect("the output depends on the weight")
        };
        let (ours, theirs) = (gradient(y_mixed, &mixed), gradient(y, &full));
        assert_eq!(ours.dtype(), DType::F32);
        assert!(difference(ours, theirs) < 2e-2);
    }

    #[test]
    fn initial_weights_keep_to_their_spread() {
        let mut init = Init::new(Stream::new(4), &Device::flex(), Precision::F32);
        let largest = |weight: &Param<Tensor<2>>| weight.val().abs().max().into_scalar::<f32>();
        // √(3·1/((100 + 20)/2)) and √(3/20); a scale of 0 means nearly zero.
        let average = largest(&init.linear(100, 20, Spread::FanAverage(1.0)).weight);
        assert!(average <= 0.2237 && average > 0.21, "{average}");
        let out = largest(&init.linear(100, 20, Spread::FanOut(1.0)).weight);
        assert!(out <= 0.3873 && out > 0.37, "{out}");
        assert!(largest(&init.linear(100, 20, Spread::FanOut(0.0)).weight) < 1e-5);
    }
}
