//! Attention of all positions of a feature map to all others, forth and back, a block of positions at a time: the weights of a
//! block stay in the caches, and those of all pairs are nowhere.
//!
//! Vectors go along the positions of the block, so that nothing is summed over their lanes.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use std::borrow::Cow;

use burn::tensor::{Tensor, activation};
use pulp::{Arch, Simd, WithSimd};

use super::bridge::{Operation, Values, apply, asked, is_ours};
use super::curve::exp;
use super::products::add_products;
use super::simd::{MOST_LANES, Shared, best, has_vectors, lanes, store, with_scratch, written};
use super::team::{each, each_chunk};

/// Weights that Burn's operations hold at a time: all pairs of positions of a large map would not fit into the caches.
const WEIGHTS: usize = 1 << 20;

/// Attends: each position gets the mean of the values of all, weighted by softmax(qᵀk/√channels).
///
/// # Shapes
/// - query, key, value, output: `[batch, channels, height, width]`
pub fn attend(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let shape @ [batch, channels, height, width] = query.dims();
    let sides = Sides { arch: best(), batch, channels, positions: height * width };
    let ours = has_vectors() && [&query, &key, &value].into_iter().all(is_ours);
    if !ours || shape.contains(&0) {
        return attend_plainly(query, key, value, &sides);
    }
    assert!([&key, &value].into_iter().all(|tensor| tensor.dims() == shape), "all tensors have the same shape");
    apply([query.into_dispatch(), key.into_dispatch(), value.into_dispatch()], Attention { sides, shape })
}

/// By Burn's own operations.
fn attend_plainly(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, sides: &Sides) -> Tensor<4> {
    let (shape, Sides { batch, channels, positions, .. }) = (query.dims(), *sides);
    let [query, key, value] = [query, key, value].map(|tensor| tensor.reshape([batch, channels, positions]));
    let attended = query
        .split((WEIGHTS / (batch * positions).max(1)).max(1), 2)
        .into_iter()
        .map(|query| {
            let weights = activation::softmax(query.swap_dims(1, 2).matmul(key.clone()) * sides.factor(), 2);
            value.clone().matmul(weights.swap_dims(1, 2))
        })
        .collect();
    Tensor::cat(attended, 2).reshape(shape)
}

/// The sides of feature maps, and the instructions for them.
#[derive(Debug, Clone, Copy)]
struct Sides {
    arch: Arch,
    batch: usize,
    channels: usize,
    positions: usize,
}

/// Vectors of positions that are computed together.
const VECTORS: usize = 2;
/// The most positions of a block.
const MOST: usize = VECTORS * MOST_LANES;
/// Rows of sums that are computed together at most.
const ROWS: usize = 8;

impl Sides {
    /// What the products of a query and a key are multiplied by.
    fn factor(&self) -> f64 {
        (self.channels as f64).sqrt().recip()
    }

    /// Positions, filled up to whole blocks.
    fn line(&self) -> usize {
        self.positions.next_multiple_of(MOST)
    }

    /// Channels, filled up to what is computed together.
    fn pixel(&self) -> usize {
        self.channels.next_multiple_of(ROWS)
    }

    /// `[batch, channels, line]`, times a factor.
    fn padded<'a>(&self, values: &'a Values, factor: f32) -> Cow<'a, [f32]> {
        let (values, line) = (values.slice(), self.line());
        if line == self.positions && factor == 1.0 {
            return Cow::Borrowed(values);
        }
        let mut padded = vec![0.0; self.batch * self.channels * line];
        each_chunk(&mut padded, line, |row, padded| {
            let values = &values[row * self.positions..][..self.positions];
            padded.iter_mut().zip(values).for_each(|(padded, value)| *padded = factor * value);
        });
        Cow::Owned(padded)
    }

    /// `[batch, positions, pixel]`, times a factor.
    fn turned(&self, values: &Values, factor: f32) -> Vec<f32> {
        let (values, pixel) = (values.slice(), self.pixel());
        let mut turned = vec![0.0; self.batch * self.positions * pixel];
        each_chunk(&mut turned, self.positions * pixel, |image, turned| {
            let values = &values[image * self.channels * self.positions..][..self.channels * self.positions];
            for (channel, row) in values.chunks_exact(self.positions).enumerate() {
                for (pixel, value) in turned.chunks_exact_mut(pixel).zip(row) {
                    pixel[channel] = factor * value;
                }
            }
        });
        turned
    }

    /// Does work for each block of positions of each image, `(image, first position, scratch)`, with room for rows of a block.
    fn each_block(&self, rows: usize, work: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let at_once = VECTORS * lanes(self.arch);
        let blocks = self.positions.div_ceil(at_once);
        each(self.batch * blocks, |task| {
            with_scratch(rows * at_once, |scratch| work(task / blocks, task % blocks * at_once, scratch));
        });
    }

    /// The lines of an image.
    fn of<'a>(&self, lines: &'a [f32], image: usize) -> &'a [f32] {
        let length = self.channels * self.line();
        &lines[image * length..][..length]
    }

    /// The products of all positions, `left`, with those of a block, `right`, both `[channels, line]`; `[positions, block]`.
    #[inline(always)]
    fn pairs<S: Simd>(&self, simd: S, left: &[f32], right: &[f32], first: usize, pairs: &mut [f32]) {
        let sides = [(left, self.line()), (&right[first..], self.line())];
        block_of_products(simd, sides, self.channels, self.positions, pairs);
    }

    /// The sums over all positions of `left`, `[positions, pixel]`, with weights, `[positions, block]`, to the
    /// positions of a block of `target`, `[channels, positions]`; each lane times its rate. `sums` is room for a block.
    ///
    /// # Safety
    /// The block must be writable.
    #[inline(always)]
    unsafe fn gather<S: Simd>(
        &self,
        simd: S,
        left: &[f32],
        weights: &[f32],
        (first, rates): (usize, &[f32; MOST]),
        sums: &mut [f32],
        target: Shared,
    ) {
        let at_once = VECTORS * S::F32_LANES;
        block_of_products(simd, [(left, self.pixel()), (weights, at_once)], self.positions, self.channels, sums);
        let count = at_once.min(self.positions - first);
        for (channel, sums) in sums.chunks_exact_mut(at_once).take(self.channels).enumerate() {
            for i in 0..at_once {
                sums[i] *= rates[i];
            }
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), target.at(channel * self.positions), count) };
        }
    }
}

#[derive(Debug, Clone)]
struct Attention {
    sides: Sides,
    shape: [usize; 4],
}

impl Operation<3> for Attention {
    /// Of each position the largest product and one over the sum of the exponentials.
    type Kept = Vec<[f32; 2]>;
    const ASKS_FOR: [bool; 3] = [true; 3];
    const IS_CHEAP: bool = false;

    fn forward(&self, [query, key, value]: [Values; 3]) -> (Values, Self::Kept) {
        let sides = self.sides;
        let (query, key) = (sides.padded(&query, sides.factor() as f32), sides.padded(&key, 1.0));
        let value = sides.turned(&value, 1.0);
        let mut softmaxes = vec![[0.0; 2]; sides.batch * sides.positions];
        let kept = Shared(softmaxes.as_mut_ptr());
        let fill = |target: Shared| {
            sides.each_block(sides.line() + sides.pixel(), |image, first, scratch| {
                let (key, query) = (sides.of(&key, image), sides.of(&query, image));
                let value = &value[image * sides.positions * sides.pixel()..];
                // SAFETY: each block has positions of its own.
                let (target, kept) = unsafe {
                    (
                        Shared(target.at(image * sides.channels * sides.positions + first)),
                        Shared(kept.at(image * sides.positions + first)),
                    )
                };
                sides.arch.dispatch(Forward { sides, key, query, value, first, scratch, target, kept });
            });
        };
        // SAFETY: the blocks are the whole output.
        let values = unsafe { written(sides.batch * sides.channels * sides.positions, fill) };
        (Values::new(values, self.shape), softmaxes)
    }

    fn backward(
        self,
        softmaxes: Self::Kept,
        [query, key, value]: [Option<Values>; 3],
        gradient: Values,
        _: [bool; 3],
    ) -> [Option<Values>; 3] {
        let (sides, [query, key, value]) = (self.sides, [query, key, value].map(asked));
        let count = sides.batch * sides.channels * sides.positions;
        let factor = sides.factor() as f32;
        let (turned_query, turned_key) = (sides.turned(&query, factor), sides.turned(&key, factor));
        let (query, key) = (sides.padded(&query, factor), sides.padded(&key, 1.0));
        let (value, turned_gradient) = (sides.padded(&value, 1.0), sides.turned(&gradient, 1.0));
        let gradient = sides.padded(&gradient, 1.0);
        let pixels = sides.positions * sides.pixel();
        // Of each position, the mean of the gradients of its weights, by these weights.
        let mut means = vec![0.0; sides.batch * sides.positions];
        let means_of = Shared(means.as_mut_ptr());
        let fill = |target: Shared| {
            sides.each_block(2 * sides.line() + sides.pixel(), |image, first, scratch| {
                // SAFETY: each block has positions of its own.
                let (target, means) = unsafe {
                    (
                        Shared(target.at(image * sides.channels * sides.positions + first)),
                        Shared(means_of.at(image * sides.positions + first)),
                    )
                };
                sides.arch.dispatch(OfQueries {
                    sides,
                    lines: [&query, &key, &value, &gradient].map(|lines| sides.of(lines, image)),
                    turned_key: &turned_key[image * pixels..],
                    softmaxes: &softmaxes[image * sides.positions + first..],
                    first,
                    scratch,
                    target,
                    means,
                });
            });
        };
        // SAFETY: the blocks are the whole gradient.
        let of_query = unsafe { written(count, fill) };
        let mut of_key = Vec::new();
        let fill = |of_values: Shared| {
            let fill = |of_keys: Shared| {
                sides.each_block(2 * sides.line() + sides.pixel(), |image, first, scratch| {
                    let place = image * sides.channels * sides.positions + first;
                    // SAFETY: each block has positions of its own.
                    let targets = unsafe { [Shared(of_keys.at(place)), Shared(of_values.at(place))] };
                    sides.arch.dispatch(OfKeys {
                        sides,
                        lines: [&query, &key, &value, &gradient].map(|lines| sides.of(lines, image)),
                        turned_query: &turned_query[image * pixels..],
                        turned_gradient: &turned_gradient[image * pixels..],
                        softmaxes: &softmaxes[image * sides.positions..][..sides.positions],
                        means: &means[image * sides.positions..][..sides.positions],
                        first,
                        scratch,
                        targets,
                    });
                });
            };
            // SAFETY: the blocks are the whole gradient.
            of_key = unsafe { written(count, fill) };
        };
        // SAFETY: the blocks, all of which the gradient of the keys has gone through, are the whole gradient.
        let of_value = unsafe { written(count, fill) };
        [of_query, of_key, of_value].map(|gradient| Some(Values::new(gradient, self.shape)))
    }
}

/// Sums of products, `target[row][k] = Σ_step left[step][row]·right[step][k]` for the positions k of a block, with the floats
/// from one step to the next of both sides. Rows are filled up.
#[inline(always)]
fn block_of_products<S: Simd>(simd: S, sides: [(&[f32], usize); 2], steps: usize, rows: usize, target: &mut [f32]) {
    #[inline(always)]
    fn run<S: Simd, const M: usize>(
        simd: S,
        [left, right]: [(&[f32], usize); 2],
        steps: usize,
        rows: usize,
        target: &mut [f32],
    ) {
        let at_once = VECTORS * S::F32_LANES;
        let rows = rows.next_multiple_of(M);
        let ends = |(values, apart): (&[f32], usize), length: usize| values.len() >= (steps - 1) * apart + length;
        assert!(ends(left, rows) && ends(right, at_once) && target.len() >= rows * at_once);
        for row in (0..rows).step_by(M) {
            let mut sums = [[simd.splat_f32s(0.0); VECTORS]; M];
            // SAFETY: both sides and the target were found to be long enough.
            unsafe {
                add_products(simd, [(left.0.as_ptr().add(row), left.1), (right.0.as_ptr(), right.1)], steps, &mut sums);
                for i in 0..M {
                    for j in 0..VECTORS {
                        let to = (row + i) * at_once + j * S::F32_LANES;
                        store::<S>(target.as_mut_ptr().add(to), sums[i][j]);
                    }
                }
            }
        }
    }
    if S::REGISTER_COUNT >= 32 {
        run::<S, ROWS>(simd, sides, steps, rows, target);
    } else {
        run::<S, { ROWS / 2 }>(simd, sides, steps, rows, target);
    }
}

/// A block of positions that ask.
struct Forward<'a> {
    sides: Sides,
    /// `[channels, line]`
    key: &'a [f32],
    query: &'a [f32],
    /// `[positions, pixel]`
    value: &'a [f32],
    first: usize,
    scratch: &'a mut [f32],
    target: Shared,
    kept: Shared<[f32; 2]>,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sides, key, query, value, first, scratch, target, kept } = self;
        let at_once = VECTORS * S::F32_LANES;
        let (weights, sums) = scratch.split_at_mut(sides.line() * at_once);
        sides.pairs(simd, key, query, first, weights);
        let (mut tops, mut rates) = ([f32::MIN; MOST], [0.0; MOST]);
        for row in weights.chunks_exact(at_once).take(sides.positions) {
            for i in 0..at_once {
                // What is not a number is found again in the sum.
                tops[i] = if row[i] > tops[i] { row[i] } else { tops[i] };
            }
        }
        for row in weights.chunks_exact_mut(at_once).take(sides.positions) {
            for i in 0..at_once {
                row[i] = exp(row[i] - tops[i]);
                rates[i] += row[i];
            }
        }
        for i in 0..at_once {
            rates[i] = 1.0 / rates[i];
        }
        // SAFETY: the block's own positions.
        unsafe {
            for i in 0..at_once.min(sides.positions - first) {
                kept.at(i).write([tops[i], rates[i]]);
            }
            sides.gather(simd, value, weights, (first, &rates), sums, target);
        }
    }
}

/// The way back to a block of positions that asked.
struct OfQueries<'a> {
    sides: Sides,
    /// Query, key, value and gradient, `[channels, line]`.
    lines: [&'a [f32]; 4],
    /// `[positions, pixel]`
    turned_key: &'a [f32],
    /// Of the block.
    softmaxes: &'a [[f32; 2]],
    first: usize,
    scratch: &'a mut [f32],
    target: Shared,
    means: Shared,
}

impl WithSimd for OfQueries<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sides, lines: [query, key, value, gradient], first, .. } = self;
        let at_once = VECTORS * S::F32_LANES;
        let (weights, rest) = self.scratch.split_at_mut(sides.line() * at_once);
        let (gradients, sums) = rest.split_at_mut(sides.line() * at_once);
        sides.pairs(simd, key, query, first, weights);
        sides.pairs(simd, value, gradient, first, gradients);
        let (mut tops, mut rates, mut means) = ([0.0; MOST], [0.0; MOST], [0.0; MOST]);
        let count = at_once.min(sides.positions - first);
        for (i, [top, rate]) in self.softmaxes[..count].iter().enumerate() {
            (tops[i], rates[i]) = (*top, *rate);
        }
        let rows = weights.chunks_exact_mut(at_once).zip(gradients.chunks_exact_mut(at_once)).take(sides.positions);
        for (weights, gradients) in rows {
            for i in 0..at_once {
                weights[i] = exp(weights[i] - tops[i]) * rates[i];
                means[i] += weights[i] * gradients[i];
            }
        }
        let rows = weights.chunks_exact_mut(at_once).zip(gradients.chunks_exact_mut(at_once)).take(sides.positions);
        for (weights, gradients) in rows {
            for i in 0..at_once {
                weights[i] *= gradients[i] - means[i];
            }
        }
        // SAFETY: the block's own positions.
        unsafe {
            for i in 0..count {
                self.means.at(i).write(means[i]);
            }
            sides.gather(simd, self.turned_key, weights, (first, &[1.0; MOST]), sums, self.target);
        }
    }
}

/// The way back to a block of positions that were asked.
struct OfKeys<'a> {
    sides: Sides,
    /// Query, key, value and gradient, `[channels, line]`.
    lines: [&'a [f32]; 4],
    /// `[positions, pixel]`
    turned_query: &'a [f32],
    turned_gradient: &'a [f32],
    /// Of all positions.
    softmaxes: &'a [[f32; 2]],
    means: &'a [f32],
    first: usize,
    scratch: &'a mut [f32],
    /// Of keys and of values.
    targets: [Shared; 2],
}

impl WithSimd for OfKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sides, lines: [query, key, value, gradient], first, targets: [of_key, of_value], .. } = self;
        let at_once = VECTORS * S::F32_LANES;
        let (weights, rest) = self.scratch.split_at_mut(sides.line() * at_once);
        let (gradients, sums) = rest.split_at_mut(sides.line() * at_once);
        sides.pairs(simd, query, key, first, weights);
        sides.pairs(simd, gradient, value, first, gradients);
        let of_positions = self.softmaxes.iter().zip(self.means);
        let rows = weights.chunks_exact_mut(at_once).zip(gradients.chunks_exact_mut(at_once));
        for ((weights, gradients), ([top, rate], mean)) in rows.zip(of_positions) {
            for i in 0..at_once {
                weights[i] = exp(weights[i] - top) * rate;
                gradients[i] = weights[i] * (gradients[i] - mean);
            }
        }
        let rates = (first, &[1.0; MOST]);
        // SAFETY: the block's own positions.
        unsafe {
            sides.gather(simd, self.turned_gradient, weights, rates, sums, of_value);
            sides.gather(simd, self.turned_query, gradients, rates, sums, of_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::super::team::tests::with_threads;
    use super::super::tests::{numbers, other_instructions};
    use super::*;

    /// The output and all gradients for drawn maps.
    fn all_of(arch: Arch, [batch, channels, height, width]: [usize; 4]) -> Vec<Vec<f32>> {
        let shape = [batch, channels, height, width];
        let sides = Sides { arch, batch, channels, positions: height * width };
        let mut random = Rng::with_seed(11);
        let [query, key, value, gradient] =
            [0; 4].map(|_| Values::new(numbers(&mut random, shape.iter().product()), shape));
        let operation = Attention { sides, shape };
        let (output, softmaxes) = operation.forward([query.clone(), key.clone(), value.clone()]);
        let gradients = operation.backward(softmaxes, [query, key, value].map(Some), gradient, [true; 3]);
        std::iter::once(output).chain(gradients.map(asked)).map(|values| values.slice().to_vec()).collect()
    }

    #[test]
    fn instructions_change_rounding_only_and_threads_nothing() {
        for shape in [[1, 3, 2, 2], [2, 9, 5, 7], [1, 16, 9, 16]] {
            let expected = all_of(best(), shape);
            for arch in other_instructions() {
                for (values, expected) in all_of(arch, shape).iter().zip(&expected) {
                    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
                    assert!(
                        values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * largest),
                        "{arch:?} {shape:?}"
                    );
                }
            }
            for threads in [1, 3] {
                assert!(with_threads(threads, || all_of(best(), shape)) == expected, "{threads} threads: {shape:?}");
            }
        }
    }
}
