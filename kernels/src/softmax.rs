//! The softmax of rows in one pass, forth and back.

use burn::tensor::{Tensor, activation};

use super::bridge::{Operation, Values, apply, asked, is_ours};
use super::curve::exp;
use super::simd::{best, has_vectors, sum_by, vectorised};
use super::team::made_of_chunks;

/// exp(factor·x)/Σ exp(factor·x) over the last axis.
///
/// # Shapes
/// - x, output: `[.., .., length]`
pub fn softmax(x: Tensor<3>, factor: f64) -> Tensor<3> {
    let length = x.dims()[2];
    if !has_vectors() || !is_ours(&x) || x.dims().iter().product::<usize>() == 0 {
        return activation::softmax(x * factor, 2);
    }
    apply([x.into_dispatch()], Softmax { length, factor: factor as f32 })
}

/// Values of which the largest is looked for side by side.
const LANES: usize = 32;

#[derive(Debug, Clone)]
struct Softmax {
    length: usize,
    factor: f32,
}

impl Operation<1> for Softmax {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [true];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [Values; 1]) -> (Values, ()) {
        let fill = |row: usize, output: &mut [f32]| {
            let x = &x.slice()[row * self.length..][..self.length];
            vectorised(
                best(),
                #[inline(always)]
                || self.row(x, output),
            );
        };
        // SAFETY: a row is written whole.
        (Values::new(unsafe { made_of_chunks(x.slice().len(), self.length, fill) }, x.shape()), ())
    }

    fn backward(self, (): (), [x]: [Option<Values>; 1], gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        let x = asked(x);
        let fill = |row: usize, output: &mut [f32]| {
            let range = row * self.length..(row + 1) * self.length;
            let (x, gradient) = (&x.slice()[range.clone()], &gradient.slice()[range]);
            vectorised(
                best(),
                #[inline(always)]
                || {
                    // The output once more: to exponentiate is cheaper than to keep it.
                    self.row(x, output);
                    let mean = sum_by([output, gradient], |[output, gradient]| output * gradient);
                    for (output, gradient) in output.iter_mut().zip(gradient) {
                        *output *= (gradient - mean) * self.factor;
                    }
                },
            );
        };
        // SAFETY: a row is written whole before it is read.
        [Some(Values::new(unsafe { made_of_chunks(x.slice().len(), self.length, fill) }, x.shape()))]
    }
}

impl Softmax {
    #[inline(always)]
    fn row(&self, x: &[f32], output: &mut [f32]) {
        let mut tops = [f32::MIN; LANES];
        let (lines, rest) = x.as_chunks::<LANES>();
        for line in lines {
            for i in 0..LANES {
                // What is not a number is found again in the sum.
                tops[i] = if line[i] * self.factor > tops[i] { line[i] * self.factor } else { tops[i] };
            }
        }
        let mut top = f32::MIN;
        for value in rest {
            top = top.max(value * self.factor);
        }
        for value in tops {
            top = top.max(value);
        }
        for (output, x) in output.iter_mut().zip(x) {
            *output = exp(x * self.factor - top);
        }
        let sum = sum_by([output], |[output]| output);
        for output in output {
            *output /= sum;
        }
    }
}
