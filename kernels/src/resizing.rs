//! Resizing of tensors. See [`stencil`](super::stencil) for the arithmetic.

use burn::tensor::{Tensor, TensorData};

use super::bridge::{Operation, Values, apply, is_ours};
#[cfg(feature = "card")]
use super::card;
use super::simd::{best, has_vectors};
use super::stencil::{self, Resize};

/// Resizes feature maps.
///
/// # Shapes
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, how.length(height), how.length(width)]`
pub fn resize(x: Tensor<4>, how: Resize) -> Tensor<4> {
    #[cfg(feature = "card")]
    if card::holds(&x) {
        return card::resize(x, how);
    }
    if !has_vectors() || !is_ours(&x) || x.dims().contains(&0) {
        return by_products(x, how);
    }
    apply([x.into_dispatch()], Resized { how })
}

fn resized(x: &Values, how: Resize, factor: f32) -> Values {
    let shape = x.shape();
    let values = stencil::resize(best(), x.slice(), [shape[2], shape[3]], how, factor);
    Values::new(values, [shape[0], shape[1], how.length(shape[2]), how.length(shape[3])])
}

#[derive(Debug, Clone)]
struct Resized {
    how: Resize,
}

impl Operation<1> for Resized {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [false];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [Values; 1]) -> (Values, ()) {
        (resized(&x, self.how, 1.0), ())
    }

    fn backward(self, (): (), _: [Option<Values>; 1], gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        let (how, factor) = self.how.transpose();
        [Some(resized(&gradient, how, factor))]
    }
}

/// By one banded matrix from the left (rows) and one from the right (columns): matrix products are fast on every device,
/// and their gradients are matrix products.
fn by_products(x: Tensor<4>, how: Resize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let matrix = |side: usize| {
        let values = TensorData::new(how.matrix(side), [how.length(side), side]);
        Tensor::<2>::from_data(values, (&x.device(), x.dtype()))
    };
    let (from_left, from_right) = (matrix(height), matrix(width).transpose());
    let (tall, wide) = (how.length(height), how.length(width));
    let across = x.reshape([batch * channels * height, width]).matmul(from_right);
    let across = across.reshape([batch * channels, height, wide]);
    from_left.unsqueeze::<3>().matmul(across).reshape([batch, channels, tall, wide])
}
