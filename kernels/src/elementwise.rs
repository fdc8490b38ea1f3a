//! Operations that give each value by itself: they are as fast as memory is, once vectors and all threads do them.

use burn::tensor::Tensor;

use super::bridge::{Differentiable, Values, apply, is_ours, plain_values};
use super::curve::{Activation, Curve, Identity, Leaky, Relu, Silu};
use super::normalisation::activate_plainly;
use super::simd::{Shared, best, has_vectors, vectorised, written};
use super::team::each;

/// Values that one thread takes at a time.
pub const CHUNK: usize = 1 << 14;

/// An activation of each value.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    if !has_vectors() || !is_ours(&x) {
        return activate_plainly(x, activation);
    }
    apply([x.into_dispatch()], |[x]| (by_curve(&x, None, activation), Activated { x, activation }))
}

#[derive(Debug, Clone)]
struct Activated {
    x: Values,
    activation: Activation,
}

impl Differentiable<1> for Activated {
    fn backward(self, gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        [Some(by_curve(&self.x, Some(&gradient), self.activation))]
    }
}

/// The activation, or with a gradient the gradient before it.
fn by_curve(x: &Values, gradient: Option<&Values>, activation: Activation) -> Values {
    fn go(x: &Values, gradient: Option<&Values>, curve: impl Curve) -> Values {
        match gradient {
            None => combine(x, x, move |x, _| curve.value(x)),
            Some(gradient) => combine(x, gradient, move |x, gradient| gradient * curve.slope(x)),
        }
    }
    match activation {
        Activation::Identity => go(x, gradient, Identity),
        Activation::Relu => go(x, gradient, Relu),
        Activation::LeakyRelu(slope) => go(x, gradient, Leaky(slope as f32)),
        Activation::Silu => go(x, gradient, Silu),
    }
}

/// A function of the values of two tensors of one shape.
fn combine(a: &Values, b: &Values, of: impl Fn(f32, f32) -> f32 + Copy + Send + Sync) -> Values {
    let (shape, a, b) = (a.shape(), a.slice(), b.slice());
    assert_eq!(a.len(), b.len(), "both tensors have the same shape");
    let fill = |target: Shared| {
        each(a.len().div_ceil(CHUNK), |i| {
            let range = i * CHUNK..((i + 1) * CHUNK).min(a.len());
            let (a, b) = (&a[range.clone()], &b[range]);
            // SAFETY: each chunk has a place of its own.
            let out = unsafe { std::slice::from_raw_parts_mut(target.at(i * CHUNK), a.len()) };
            vectorised(
                best(),
                #[inline(always)]
                || {
                    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                        *out = of(*a, *b);
                    }
                },
            );
        });
    };
    // SAFETY: the chunks are the whole.
    Values::new(unsafe { written(a.len(), fill) }, shape)
}

/// (a + b)·factor.
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, factor: f64) -> Tensor<D> {
    if !has_vectors() || !is_ours(&a) || !is_ours(&b) || a.dims() != b.dims() {
        return (a + b) * factor;
    }
    let factor = factor as f32;
    apply([a.into_dispatch(), b.into_dispatch()], |[a, b]| {
        (combine(&a, &b, move |a, b| (a + b) * factor), Sum { factor })
    })
}

#[derive(Debug, Clone)]
struct Sum {
    factor: f32,
}

impl Differentiable<2> for Sum {
    fn backward(self, gradient: Values, [a, b]: [bool; 2]) -> [Option<Values>; 2] {
        let factor = self.factor;
        let scaled = combine(&gradient, &gradient, move |gradient, _| gradient * factor);
        [a.then(|| scaled.clone()), b.then(|| scaled.clone())]
    }
}

/// old·decay + new·(1 − decay), of tensors without gradients.
pub fn blend<const D: usize>(old: Tensor<D>, new: Tensor<D>, decay: f64) -> Tensor<D> {
    if !has_vectors() || !is_ours(&old) || !is_ours(&new) {
        return old * decay + new * (1.0 - decay);
    }
    let (keep, take) = (decay as f32, (1.0 - decay) as f32);
    combine(&plain_values(&old), &plain_values(&new), move |old, new| old * keep + new * take).into_tensor()
}
