//! Convolutions on cards: matrix products of patches that are never written out (the kernels of `cubek`), for which images
//! and kernels are laid out with their channels side by side. Where a card has no units for them, Burn's kernels take their
//! place.
//!
//! What is laid out is converted to the format of the products, filled up to a multiple of eight channels with zeros, and,
//! where a gradient goes back through a strided convolution, spread with zeros between its pixels: then every product is one
//! without steps, which is the only kind that has a fast way back.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::conv::{ConvStrategy, conv_data_backward, conv_forward_nhwc, conv_weight_backward};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::{permute_nchw_to_nhwc, permute_nhwc_to_nchw};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;
use cubek::convolution::components::ConvSetupError;
use cubek::convolution::{
    AcceleratedTileKind, ConvAlgorithm, ConvolutionArgs, ConvolutionInputs, Strategy, launch_ref,
};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::std::InputBinding;
use half::bf16;

use super::super::convolution::Products;
use super::super::geometry::Geometry;
use super::norm::sum_over_cube;
use super::{UNITS, beside, cubes};

/// Channels are filled up to a multiple of these, so that several are read at a time.
const CHANNELS: usize = 8;

/// Side of the square of channels by pixels that a cube turns.
const TILE: usize = 32;

/// The output `[batch, outputs, height, width]` of `[batch, inputs, ..]` and kernels `[outputs, inputs, ..]`, and of a bias
/// of 1 or batch rows.
pub fn forward(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    geometry: &Geometry,
    products: Products,
) -> CubeTensor {
    let Geometry { batch, outputs, stride, padding, .. } = *geometry;
    let ([tall, wide], format) = (geometry.size_out(), Format::of(&x, products));
    let (input, weight) = (laid_out(x, format, None), laid_out_kernels(weight, format));
    let out = beside(&input, Shape::new([batch, tall, wide, weight.meta.shape()[0]]));
    let bindings = ConvolutionInputs::Forward {
        input: format.bound(&input),
        weight: format.bound(&weight),
        bias: None,
        out: out.clone().binding(),
    };
    let done = format.multiply(&out, bindings, stride, padding);
    let out =
        if done { out } else { refused(conv_forward_nhwc(input, weight, None, options(stride, padding), plainly())) };
    turned_back(out, [batch, outputs], bias)
}

/// The gradient of the input, plus a bias.
pub fn input_gradient(
    weight: CubeTensor,
    gradient: CubeTensor,
    bias: Option<CubeTensor>,
    geometry: &Geometry,
    products: Products,
) -> CubeTensor {
    let Geometry { batch, inputs, size: [height, width], padding, stride, .. } = *geometry;
    let format = Format::of(&gradient, products);
    // The output that the convolution would have without steps.
    let whole = Geometry { stride: [1, 1], ..*geometry }.size_out();
    let (gradient, weight) = (laid_out(gradient, format, Some((whole, stride))), laid_out_kernels(weight, format));
    let filled = weight.meta.shape()[3];
    let of_input = beside(&gradient, Shape::new([batch, height, width, filled]));
    let bindings = ConvolutionInputs::BackwardData {
        out_grad: format.bound(&gradient),
        weights: format.bound(&weight),
        in_grad: of_input.clone().binding(),
    };
    let of_input = if format.multiply(&of_input, bindings, [1, 1], padding) {
        of_input
    } else {
        let [gradient, weight] = [gradient, weight].map(permute_nhwc_to_nchw);
        let shape = Shape::new([batch, filled, height, width]);
        let of_input = conv_data_backward(gradient, weight, shape, options([1, 1], padding), plainly());
        into_contiguous(permute_nchw_to_nhwc(refused(of_input)))
    };
    turned_back(of_input, [batch, inputs], bias)
}

/// The gradient of the kernels.
pub fn weight_gradient(x: CubeTensor, gradient: CubeTensor, geometry: &Geometry, products: Products) -> CubeTensor {
    let Geometry { inputs, outputs, kernel: [height, width], stride, padding, .. } = *geometry;
    let format = Format::of(&x, products);
    let [input, gradient] = [x, gradient].map(|tensor| laid_out(tensor, format, None));
    let [filled_outputs, filled_inputs] = [&gradient, &input].map(|tensor| tensor.meta.shape()[3]);
    let of_weight = beside(&input, Shape::new([filled_outputs, height, width, filled_inputs]));
    let bindings = ConvolutionInputs::BackwardWeight {
        input: format.bound(&input),
        out_grad: format.bound(&gradient),
        weight_grad: of_weight.clone().binding(),
    };
    let of_weight = if format.multiply(&of_weight, bindings, stride, padding) {
        of_weight
    } else {
        let [input, gradient] = [input, gradient].map(permute_nhwc_to_nchw);
        let shape = Shape::new([filled_outputs, filled_inputs, height, width]);
        let of_weight = conv_weight_backward(input, gradient, shape, options(stride, padding), plainly());
        into_contiguous(permute_nchw_to_nhwc(refused(of_weight)))
    };
    turned_back(of_weight, [outputs, inputs], None)
}

/// In which format a card multiplies, and whether by units for matrix products.
#[derive(Clone, Copy)]
struct Format {
    products: Products,
    has_units: bool,
}

impl Format {
    /// Without units there is nothing to be gained by fewer bits.
    fn of(tensor: &CubeTensor, products: Products) -> Self {
        let has_units = has_units(tensor, products);
        Self { products: if has_units { products } else { Products::F32 }, has_units }
    }

    fn dtype(self) -> DType {
        match self.products {
            Products::F32 => DType::F32,
            Products::Bf16 => DType::BF16,
        }
    }

    fn element(self) -> ElemType {
        ElemType::Float(match self.products {
            Products::F32 => FloatKind::F32,
            Products::Bf16 => FloatKind::BF16,
        })
    }

    fn bound(self, tensor: &CubeTensor) -> InputBinding {
        InputBinding::new(tensor.clone().binding(), self.element())
    }

    /// Whether the units do it: they may refuse sizes.
    fn multiply(self, out: &CubeTensor, bindings: ConvolutionInputs, stride: [usize; 2], padding: [usize; 2]) -> bool {
        let (lhs, rhs, sums) = (self.element(), self.element(), ElemType::Float(FloatKind::F32));
        let elements = MatmulElems::from_globals(&MatmulGlobalElems { lhs, rhs, out: sums });
        let strategy =
            Strategy::Inferred { algorithm: ConvAlgorithm::SimpleSyncCyclic, tile_kind: AcceleratedTileKind::Cmma };
        let arguments = ConvolutionArgs { stride, padding, dilation: [1, 1] };
        self.has_units && launch_ref::<2>(&strategy, &out.client, bindings, arguments, elements).is_ok()
    }
}

/// Burn's own choice of a kernel.
fn plainly() -> ConvStrategy {
    ConvStrategy::default()
}

fn options(stride: [usize; 2], padding: [usize; 2]) -> ConvOptions<2> {
    ConvOptions::new(stride, padding, [1, 1], 1)
}

fn refused(out: Result<CubeTensor, ConvSetupError>) -> CubeTensor {
    out.unwrap_or_else(|error| panic!("the card refuses a plain convolution: {error:?}"))
}

/// Whether the card has units for products of this format.
pub fn has_units(tensor: &CubeTensor, products: Products) -> bool {
    let factors = ElemType::Float(match products {
        Products::F32 => FloatKind::TF32,
        Products::Bf16 => FloatKind::BF16,
    });
    let sums = ElemType::Float(FloatKind::F32);
    tensor.client.properties().features.matmul.cmma.iter().any(|unit| unit.a_type == factors && unit.cd_type == sums)
}

/// The sums over the planes of `[batch, channels, height, width]`: `[batch, channels]`.
pub fn plane_sums(x: CubeTensor) -> CubeTensor {
    let [batch, channels, height, width] = x.meta.shape().dims();
    let client = x.client.clone();
    let sums = beside(&x, Shape::new([batch, channels]));
    let (count, dim) = cubes(batch * channels);
    plane_sums_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        height * width,
        UNITS,
    );
    sums
}

/// `[images, channels, height, width]` as `[images, tall, wide, filled channels]` in the format of the products; with a size and
/// steps, pixels stand so far apart in planes of that size, with zeros between them.
fn laid_out(x: CubeTensor, format: Format, spread: Option<([usize; 2], [usize; 2])>) -> CubeTensor {
    let [images, _, height, width] = x.meta.shape().dims();
    lay_out(x, images, format, spread.unwrap_or(([height, width], [1, 1])))
}

/// Kernels `[outputs, inputs, height, width]` as `[filled outputs, height, width, filled inputs]`.
fn laid_out_kernels(x: CubeTensor, format: Format) -> CubeTensor {
    let [outputs, _, height, width] = x.meta.shape().dims();
    lay_out(x, outputs.next_multiple_of(CHANNELS), format, ([height, width], [1, 1]))
}

/// The same with more images, which are zero.
fn lay_out(
    x: CubeTensor,
    filled_images: usize,
    format: Format,
    ([tall, wide], [down, right]): ([usize; 2], [usize; 2]),
) -> CubeTensor {
    let [images, channels, height, width] = x.meta.shape().dims();
    let filled = channels.next_multiple_of(CHANNELS);
    let shape = Shape::new([filled_images, tall, wide, filled]);
    let out = empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, format.dtype());
    let client = x.client.clone();
    let tiles = filled_images * (tall * wide).div_ceil(TILE) * filled.div_ceil(TILE);
    let (count, dim) = cubes(tiles);
    let (from, to) = (x.into_buffer_arg(), out.clone().into_buffer_arg());
    macro_rules! lay_out {
        ($format:ty) => {
            lay_out_kernel::launch::<$format>(
                &client, count, dim, from, to, images, channels, filled, height, width, tall, wide, down, right, tiles,
            )
        };
    }
    match format.products {
        Products::F32 => lay_out!(f32),
        Products::Bf16 => lay_out!(bf16),
    }
    out
}

/// `[filled images, height, width, filled channels]` as `[images, channels, height, width]`, plus a bias.
fn turned_back(x: CubeTensor, [images, channels]: [usize; 2], bias: Option<CubeTensor>) -> CubeTensor {
    let [_, height, width, filled] = x.meta.shape().dims();
    let out = beside(&x, Shape::new([images, channels, height, width]));
    let tiles = images * (height * width).div_ceil(TILE) * channels.div_ceil(TILE);
    let (count, dim) = cubes(tiles);
    let client = x.client.clone();
    let biased = bias.is_some();
    // A kernel wants every buffer; one that is not read may be any.
    let bias = bias.unwrap_or_else(|| x.clone());
    turn_back_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        bias.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        channels,
        filled,
        height * width,
        tiles,
        biased,
    );
    out
}

/// Turns squares of channels by pixels, so that reads and writes are of neighbours.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]
fn lay_out_kernel<F: Float>(
    x: &[f32],
    out: &mut [F],
    images: usize,
    channels: usize,
    filled: usize,
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    down: usize,
    right: usize,
    tiles: usize,
) {
    let tile = CUBE_POS;
    if tile < tiles {
        let mut square = Shared::<[f32]>::new_slice(comptime!(TILE * (TILE + 1)));
        let area = tall * wide;
        let (across, along) = (area.div_ceil(TILE), filled.div_ceil(TILE));
        let image = tile / (across * along);
        let first_pixel = tile % across * TILE;
        let first_channel = tile / across % along * TILE;
        let (column, row) = (UNIT_POS as usize % TILE, UNIT_POS as usize / TILE);
        let pixel = first_pixel + column;
        let (y, x_at) = (pixel / wide, pixel % wide);
        let there = pixel < area && y % down == 0 && x_at % right == 0 && y / down < height && x_at / right < width;
        #[unroll]
        for step in 0..comptime!(TILE * TILE / UNITS) {
            let line = row + comptime!(step * UNITS / TILE);
            let channel = first_channel + line;
            let mut value = 0.0f32;
            if there && image < images && channel < channels {
                value = x[((image * channels + channel) * height + y / down) * width + x_at / right];
            }
            square[line * comptime!(TILE + 1) + column] = value;
        }
        sync_cube();
        let channel = first_channel + column;
        #[unroll]
        for step in 0..comptime!(TILE * TILE / UNITS) {
            let line = row + comptime!(step * UNITS / TILE);
            let pixel = first_pixel + line;
            if pixel < area && channel < filled {
                out[(image * area + pixel) * filled + channel] =
                    F::cast_from(square[column * comptime!(TILE + 1) + line]);
            }
        }
    }
}

/// The other way, without the channels that were filled in, plus a bias where there is one.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]
fn turn_back_kernel(
    x: &[f32],
    bias: &[f32],
    out: &mut [f32],
    channels: usize,
    filled: usize,
    area: usize,
    tiles: usize,
    #[comptime] biased: bool,
) {
    let tile = CUBE_POS;
    if tile < tiles {
        let mut square = Shared::<[f32]>::new_slice(comptime!(TILE * (TILE + 1)));
        let (across, along) = (area.div_ceil(TILE), channels.div_ceil(TILE));
        let image = tile / (across * along);
        let first_pixel = tile % across * TILE;
        let first_channel = tile / across % along * TILE;
        let (column, row) = (UNIT_POS as usize % TILE, UNIT_POS as usize / TILE);
        let channel = first_channel + column;
        #[unroll]
        for step in 0..comptime!(TILE * TILE / UNITS) {
            let line = row + comptime!(step * UNITS / TILE);
            let pixel = first_pixel + line;
            let mut value = 0.0f32;
            if pixel < area && channel < channels {
                value = x[(image * area + pixel) * filled + channel];
            }
            square[line * comptime!(TILE + 1) + column] = value;
        }
        sync_cube();
        let pixel = first_pixel + column;
        #[unroll]
        for step in 0..comptime!(TILE * TILE / UNITS) {
            let line = row + comptime!(step * UNITS / TILE);
            let channel = first_channel + line;
            if pixel < area && channel < channels {
                let place = image * channels + channel;
                let mut value = square[column * comptime!(TILE + 1) + line];
                if comptime!(biased) {
                    value += bias[place % bias.len()];
                }
                out[place * area + pixel] = value;
            }
        }
    }
}

/// The sum of each row of values, by one cube each.
#[cube(launch)]
fn plane_sums_kernel(x: &[f32], sums: &mut [f32], area: usize, #[comptime] units: usize) {
    let plane = CUBE_POS;
    if plane < sums.len() {
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < area {
            sum += x[plane * area + i];
            i += units;
        }
        let sum = sum_over_cube(sum, units);
        if UNIT_POS == 0 {
            sums[plane] = sum;
        }
    }
}
