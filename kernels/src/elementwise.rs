//! Operations that give each value by itself: they are as fast as memory is, once vectors and all threads do them.

use burn::tensor::Tensor;
use pulp::Arch;

use super::bridge::{Operation, Values, apply, asked, is_ours, numbers_of, plain_values};
#[cfg(feature = "card")]
use super::card;
use super::curve::{Activation, Curve, with_curve};
use super::normalisation::activate_plainly;
use super::simd::{Shared, best, has_vectors, sum_by, vectorised};
use super::team::{each, each_chunk, made_of_chunks};

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// An activation of each value.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    #[cfg(feature = "card")]
    if card::holds(&x) {
        return card::activate(x, activation);
    }
    if !has_vectors() || !is_ours(&x) {
        return activate_plainly(x, activation);
    }
    apply([x.into_dispatch()], Activated { activation })
}

#[derive(Debug, Clone)]
struct Activated {
    activation: Activation,
}

impl Operation<1> for Activated {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [true];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [Values; 1]) -> (Values, ()) {
        (by_curve(x, None, self.activation), ())
    }

    fn backward(self, (): (), [x]: [Option<Values>; 1], gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        [Some(by_curve(gradient, Some(&asked(x)), self.activation))]
    }
}

/// The activation of values, or of a gradient the gradient before the activation of other values.
fn by_curve(values: Values, activated: Option<&Values>, activation: Activation) -> Values {
    if activation == Activation::Identity {
        return values;
    }
    with_curve!(activation, curve => match activated {
        None => combine(values, [], move |x, []| curve.value(x)),
        Some(x) => combine(values, [x], move |gradient, [x]| gradient * curve.slope(x)),
    })
}

/// The activation of a plane.
pub fn activate_plane(arch: Arch, activation: Activation, plane: &[f32], activated: &mut [f32]) {
    with_curve!(activation, curve => vectorised(
        arch,
        #[inline(always)]
        || {
            for (activated, value) in activated.iter_mut().zip(plane) {
                *activated = curve.value(*value);
            }
        },
    ));
}

/// The gradient before the activation of a plane, in the place of that after it.
pub fn activate_plane_back(arch: Arch, activation: Activation, plane: &[f32], gradient: &mut [f32]) {
    with_curve!(activation, curve => vectorised(
        arch,
        #[inline(always)]
        || {
            for (gradient, value) in gradient.iter_mut().zip(plane) {
                *gradient *= curve.slope(*value);
            }
        },
    ));
}

/// Values times a factor.
pub fn scaled(values: Values, factor: f32) -> Values {
    combine(values, [], move |value, []| value * factor)
}

/// A function of the values of tensors of one shape; where nobody else has the first, in its place.
fn combine<const I: usize>(
    mut first: Values,
    others: [&Values; I],
    of: impl Fn(f32, [f32; I]) -> f32 + Copy + Send + Sync,
) -> Values {
    let inputs = others.map(Values::slice);
    if first.are_own() {
        replace_all(inputs, [first.slice_mut()], move |others, [first]| [of(first, others)]);
        return first;
    }
    let values = first.slice();
    assert!(inputs.iter().all(|input| input.len() == values.len()), "all tensors have the same shape");
    let fill = |chunk: usize, output: &mut [f32]| {
        let range = chunk * CHUNK..chunk * CHUNK + output.len();
        let (values, inputs) = (&values[range.clone()], inputs.map(|input| &input[range.clone()]));
        vectorised(
            best(),
            #[inline(always)]
            || {
                for i in 0..output.len() {
                    let mut others = [0.0; I];
                    for j in 0..I {
                        others[j] = inputs[j][i];
                    }
                    output[i] = of(values[i], others);
                }
            },
        );
    };
    // SAFETY: every value of a chunk is written.
    Values::new(unsafe { made_of_chunks(values.len(), CHUNK, fill) }, first.shape())
}

/// Several functions of the values of several tensors of one length, in one pass, written to other tensors of that length,
/// of whose former values they are functions too.
pub fn replace_all<const I: usize, const O: usize>(
    inputs: [&[f32]; I],
    places: [&mut [f32]; O],
    of: impl Fn([f32; I], [f32; O]) -> [f32; O] + Copy + Send + Sync,
) {
    let length = places[0].len();
    let lengths = inputs.iter().map(|input| input.len()).chain(places.iter().map(|place| place.len()));
    assert!(lengths.clone().all(|other| other == length), "all tensors have the same shape");
    let places = places.map(|place| Shared(place.as_mut_ptr()));
    each(length.div_ceil(CHUNK), |chunk| {
        let (first, last) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
        let inputs = inputs.map(|input| &input[first..last]);
        // SAFETY: each chunk has a part of its own in each place, and places are borrowed mutably.
        let mut places = places.map(|to| unsafe { std::slice::from_raw_parts_mut(to.at(first), last - first) });
        vectorised(
            best(),
            #[inline(always)]
            || {
                for i in 0..last - first {
                    let (mut given, mut values) = ([0.0; I], [0.0; O]);
                    for j in 0..I {
                        given[j] = inputs[j][i];
                    }
                    for j in 0..O {
                        values[j] = places[j][i];
                    }
                    let values = of(given, values);
                    for j in 0..O {
                        places[j][i] = values[j];
                    }
                }
            },
        );
    });
}

/// The sum of the squares of all values.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if !has_vectors() || !is_ours(&x) {
        return x.square().sum();
    }
    let x = plain_values(&x);
    let x = x.slice();
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    each_chunk(&mut sums, 1, |chunk, sum| {
        let values = &x[chunk * CHUNK..((chunk + 1) * CHUNK).min(x.len())];
        sum[0] = vectorised(
            best(),
            #[inline(always)]
            || sum_by([values], |[value]| value * value),
        );
    });
    Values::new(vec![sums.iter().sum()], [1]).into_tensor()
}

/// (a + b)·factor.
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, factor: f64) -> Tensor<D> {
    #[cfg(feature = "card")]
    if card::holds(&a) && card::holds(&b) && a.dims() == b.dims() {
        return card::add_scaled(a, b, factor as f32);
    }
    if !has_vectors() || !is_ours(&a) || !is_ours(&b) || a.dims() != b.dims() {
        return (a + b) * factor;
    }
    apply([a.into_dispatch(), b.into_dispatch()], Sum { factor: factor as f32 })
}

#[derive(Debug, Clone)]
struct Sum {
    factor: f32,
}

impl Operation<2> for Sum {
    type Kept = ();
    const ASKS_FOR: [bool; 2] = [false; 2];
    const IS_CHEAP: bool = true;

    fn forward(&self, [a, b]: [Values; 2]) -> (Values, ()) {
        let factor = self.factor;
        // Either may be nobody else's.
        let (a, b) = if a.are_own() { (a, b) } else { (b, a) };
        (combine(a, [&b], move |a, [b]| (a + b) * factor), ())
    }

    fn backward(self, (): (), _: [Option<Values>; 2], gradient: Values, [a, b]: [bool; 2]) -> [Option<Values>; 2] {
        let scaled = scaled(gradient, self.factor);
        [a.then(|| scaled.clone()), b.then_some(scaled)]
    }
}

/// old·decay + new·(1 − decay), of tensors without gradients; where nobody else has `old`, in its place.
pub fn blend<const D: usize>(old: Tensor<D>, new: Tensor<D>, decay: f64) -> Tensor<D> {
    #[cfg(feature = "card")]
    if card::holds(&old) && card::holds(&new) {
        return card::blend(&old, &new, decay);
    }
    if !has_vectors() || !is_ours(&old) || !is_ours(&new) {
        return old * decay + new * (1.0 - decay);
    }
    let (keep, take) = (decay as f32, (1.0 - decay) as f32);
    let (mut blended, new): (Values, Values) = (numbers_of(old), numbers_of(new));
    replace_all(
        [new.slice()],
        [blended.slice_mut()],
        #[inline(always)]
        move |[new], [old]| [old * keep + new * take],
    );
    blended.into_tensor()
}
