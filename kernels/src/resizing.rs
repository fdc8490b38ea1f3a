//! Resizing of tensors. See [`stencil`](super::stencil) for the arithmetic.

use burn::tensor::{Tensor, TensorData};

use super::bridge::{Operation, Values, apply, asked, is_ours};
#[cfg(feature = "card")]
use super::card;
use super::curve::Activation;
use super::elementwise::{activate, activate_plane, activate_plane_back};
use super::simd::{best, has_vectors, with_scratch};
use super::stencil::{self, Resize, resize_plane};
use super::team::made_of_chunks;

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

/// Resizes feature maps after an activation, in one pass.
///
/// # Shapes
/// As [`resize`].
pub fn resize_activated(x: Tensor<4>, activation: Activation, how: Resize) -> Tensor<4> {
    if !has_vectors() || !is_ours(&x) || x.dims().contains(&0) {
        return resize(activate(x, activation), how);
    }
    apply([x.into_dispatch()], ActivatedAndResized { activation, how })
}

fn resized(x: &Values, how: Resize, factor: f32) -> Values {
    let [[_, _, height, width], after] = sizes(x, how);
    Values::new(stencil::resize(best(), x.slice(), [height, width], how, factor), after)
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

#[derive(Debug, Clone)]
struct ActivatedAndResized {
    activation: Activation,
    how: Resize,
}

impl Operation<1> for ActivatedAndResized {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [true];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [Values; 1]) -> (Values, ()) {
        let [before, after] = sizes(&x, self.how);
        let fill = |plane: usize, out: &mut [f32]| {
            with_scratch(area(before), |activated| {
                activate_plane(best(), self.activation, plane_of(x.slice(), area(before), plane), activated);
                resize_plane(best(), activated, before[3], self.how, 1.0, out);
            });
        };
        // SAFETY: a plane is written whole.
        let values = unsafe { made_of_chunks(after.iter().product(), area(after), fill) };
        (Values::new(values, after), ())
    }

    fn backward(self, (): (), [x]: [Option<Values>; 1], gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        let x = asked(x);
        let ([before, after], (how, factor)) = (sizes(&x, self.how), self.how.transpose());
        let fill = |plane: usize, out: &mut [f32]| {
            resize_plane(best(), plane_of(gradient.slice(), area(after), plane), after[3], how, factor, out);
            activate_plane_back(best(), self.activation, plane_of(x.slice(), area(before), plane), out);
        };
        // SAFETY: a plane is written whole.
        let values = unsafe { made_of_chunks(before.iter().product(), area(before), fill) };
        [Some(Values::new(values, before))]
    }
}

/// The sides of a tensor of planes, and those of the resized one.
fn sizes(x: &Values, how: Resize) -> [[usize; 4]; 2] {
    let before: [usize; 4] = x.shape().try_into().expect("planes of channels of images");
    let [batch, channels, height, width] = before;
    [before, [batch, channels, how.length(height), how.length(width)]]
}

/// Pixels of a plane.
fn area([_, _, height, width]: [usize; 4]) -> usize {
    height * width
}

/// A plane of so many pixels, counted through all images.
fn plane_of(planes: &[f32], area: usize, plane: usize) -> &[f32] {
    &planes[plane * area..][..area]
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
