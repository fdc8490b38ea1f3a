//! Doubling, halving and blurring of planes by the taps 1, 3, 3, 1, or plainly; on slices, plane by plane, each axis by
//! sums of neighbours.

use pulp::Arch;

use super::simd::{part, vectorised, with_scratch};
use super::team::made_of_chunks;

/// A change of the size of planes, with fixed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resize {
    /// Twice the size by the taps \[1, 3, 3, 1\]/4.
    Double,
    /// Half the size by the taps \[1, 3, 3, 1\]/8.
    Halve,
    /// Twice the size by repetition.
    Repeat,
    /// Half the size by means of two.
    Average,
    /// One pixel more by the taps \[1, 3, 3, 1\]/8.
    Blur,
    /// The transpose of `Blur`: one pixel less.
    Unblur,
}

impl Resize {
    /// The length of a line afterwards.
    pub fn length(self, length: usize) -> usize {
        match self {
            Self::Double | Self::Repeat => 2 * length,
            Self::Halve | Self::Average => length / 2,
            Self::Blur => length + 1,
            Self::Unblur => length - 1,
        }
    }

    /// The resize whose matrix is the transpose of this one's, and what to multiply it by in two dimensions.
    pub fn transpose(self) -> (Self, f32) {
        match self {
            Self::Double => (Self::Halve, 4.0),
            Self::Halve => (Self::Double, 0.25),
            Self::Repeat => (Self::Average, 4.0),
            Self::Average => (Self::Repeat, 0.25),
            Self::Blur => (Self::Unblur, 1.0),
            Self::Unblur => (Self::Blur, 1.0),
        }
    }

    /// The lines that a line of the result is made of, with their weights; those beyond the ends count as zero.
    pub fn sources(self, line: usize) -> ([isize; 4], [f32; 4]) {
        let n = line as isize;
        match self {
            Self::Double if line.is_multiple_of(2) => ([n / 2 - 1, n / 2, 0, 0], [0.25, 0.75, 0.0, 0.0]),
            Self::Double => ([n / 2, n / 2 + 1, 0, 0], [0.75, 0.25, 0.0, 0.0]),
            Self::Repeat => ([n / 2, 0, 0, 0], [1.0, 0.0, 0.0, 0.0]),
            Self::Average => ([2 * n, 2 * n + 1, 0, 0], [0.5, 0.5, 0.0, 0.0]),
            Self::Halve => ([2 * n - 1, 2 * n, 2 * n + 1, 2 * n + 2], [0.125, 0.375, 0.375, 0.125]),
            Self::Blur => ([n - 2, n - 1, n, n + 1], [0.125, 0.375, 0.375, 0.125]),
            Self::Unblur => ([n - 1, n, n + 1, n + 2], [0.125, 0.375, 0.375, 0.125]),
        }
    }

    /// The matrix of a resize along one axis, `[how.length(length), length]`.
    pub fn matrix(self, length: usize) -> Vec<f32> {
        let mut matrix = vec![0.0; self.length(length) * length];
        for (line, row) in matrix.chunks_exact_mut(length).enumerate() {
            let (sources, weights) = self.sources(line);
            for (source, weight) in sources.into_iter().zip(weights) {
                if let Some(value) = usize::try_from(source).ok().and_then(|source| row.get_mut(source)) {
                    *value += weight;
                }
            }
        }
        matrix
    }

    /// Whether the first and the second value of each pair are asked for.
    fn parts_pairs(self) -> bool {
        matches!(self, Self::Halve | Self::Average)
    }

    /// A line across.
    #[inline(always)]
    fn across(self, Line { all, firsts, seconds }: Line, out: &mut [f32], factor: f32) {
        let length = all.len() - 4;
        match self {
            Self::Double => {
                let (before, here, after) = (&all[1..][..length], &all[2..][..length], &all[3..][..length]);
                for (i, pair) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    *pair = [(0.25 * before[i] + 0.75 * here[i]) * factor, (0.75 * here[i] + 0.25 * after[i]) * factor];
                }
            }
            Self::Repeat => {
                for (pair, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(&all[2..]) {
                    *pair = [value * factor; 2];
                }
            }
            Self::Average => {
                for (out, (first, second)) in out.iter_mut().zip(firsts[1..].iter().zip(&seconds[1..])) {
                    *out = (first + second) * 0.5 * factor;
                }
            }
            Self::Halve => weigh([seconds, &firsts[1..], &seconds[1..], &firsts[2..]], out, factor),
            Self::Blur => weigh([0, 1, 2, 3].map(|i| &all[i..]), out, factor),
            Self::Unblur => weigh([1, 2, 3, 4].map(|i| &all[i..]), out, factor),
        }
    }
}

/// A line with two values of zero before its first and after its last.
struct Line<'a> {
    all: &'a [f32],
    /// Of each pair of `all`, where they are asked for.
    firsts: &'a [f32],
    seconds: &'a [f32],
}

/// The means of four values by the taps \[1, 3, 3, 1\]/8, multiplied by a factor.
#[inline(always)]
fn weigh(values: [&[f32]; 4], out: &mut [f32], factor: f32) {
    let count = out.len();
    let [a, b, c, d] = values.map(|values| &values[..count]);
    for i in 0..count {
        out[i] = (0.125 * (a[i] + d[i]) + 0.375 * (b[i] + c[i])) * factor;
    }
}

/// Resizes planes of height and width, and multiplies them by a factor.
pub fn resize(arch: Arch, planes: &[f32], [height, width]: [usize; 2], how: Resize, factor: f32) -> Vec<f32> {
    let (tall, wide) = (how.length(height), how.length(width));
    let count = planes.len() / (height * width);
    let fill = |i: usize, out: &mut [f32]| {
        let plane = &planes[i * height * width..][..height * width];
        resize_plane(arch, plane, width, how, factor, out);
    };
    // SAFETY: a plane is written whole.
    unsafe { made_of_chunks(count * tall * wide, tall * wide, fill) }
}

/// Lines that are mixed before they go across, in floats: they stay in the first cache. What has just been written a vector
/// at a time cannot be read at once at other places.
const LINES: usize = 1 << 11;

/// Resizes one plane, and multiplies it by a factor.
pub fn resize_plane(arch: Arch, plane: &[f32], width: usize, how: Resize, factor: f32, out: &mut [f32]) {
    let wide = how.length(width);
    // Whole pairs.
    let pitch = (width + 4).next_multiple_of(2);
    let at_once = (LINES / pitch).max(1);
    with_scratch(2 * at_once * pitch, |scratch| {
        let (lines, pairs) = scratch.split_at_mut(at_once * pitch);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (block, out) in out.chunks_mut(at_once * wide).enumerate() {
                    let lines = &mut lines[..out.len() / wide * pitch];
                    for (i, line) in lines.chunks_exact_mut(pitch).enumerate() {
                        line[..2].fill(0.0);
                        line[width + 2..].fill(0.0);
                        mix(plane, width, how.sources(block * at_once + i), &mut line[2..width + 2]);
                    }
                    let (firsts, seconds) = pairs[..lines.len()].split_at_mut(lines.len() / 2);
                    if how.parts_pairs() {
                        part(lines.as_chunks().0, firsts, seconds);
                    }
                    let pairs = firsts.chunks_exact(pitch / 2).zip(seconds.chunks_exact(pitch / 2));
                    let lines = lines.chunks_exact(pitch).zip(pairs);
                    for ((line, (firsts, seconds)), out) in lines.zip(out.chunks_exact_mut(wide)) {
                        how.across(Line { all: &line[..width + 4], firsts, seconds }, out, factor);
                    }
                }
            },
        );
    });
}

/// The weighted sum of lines of a plane.
#[inline(always)]
fn mix(plane: &[f32], width: usize, (lines, weights): ([isize; 4], [f32; 4]), out: &mut [f32]) {
    let mut first = true;
    for (line, weight) in lines.into_iter().zip(weights) {
        let inside = usize::try_from(line).ok().and_then(|line| plane.get(line * width..(line + 1) * width));
        let (Some(values), true) = (inside, weight != 0.0) else { continue };
        if first {
            for (out, value) in out.iter_mut().zip(values) {
                *out = weight * value;
            }
            first = false;
        } else {
            for (out, value) in out.iter_mut().zip(values) {
                *out += weight * value;
            }
        }
    }
    if first {
        out.fill(0.0);
    }
}
