//! Doubling, halving and blurring of planes by the taps 1, 3, 3, 1, or plainly; on slices, plane by plane, each axis by
//! sums of neighbours.

use pulp::{Arch, Simd, WithSimd};

use super::simd::{MOST_LANES, by_turns, evens, load, load_some, store, store_some, with_scratch};
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

    /// Values that are computed together by vectors of so many.
    fn made_at_once(self, lanes: usize) -> usize {
        if matches!(self, Self::Double | Self::Repeat) { 2 * lanes } else { lanes }
    }

    /// A line across, multiplied by a factor.
    #[inline(always)]
    fn across<S: Simd>(self, simd: S, line: Line, out: &mut [f32], factor: f32) {
        let [one, most, quarter] = [1.0, 0.75, 0.25].map(|weight| simd.splat_f32s(weight * factor));
        let lanes = S::F32_LANES as isize;
        for (i, out) in out.chunks_mut(self.made_at_once(S::F32_LANES)).enumerate() {
            let from = i as isize * lanes;
            match self {
                Self::Double => {
                    let here = simd.mul_f32s(most, line.at::<S>(from));
                    let [before, after] = [line.at::<S>(from - 1), line.at::<S>(from + 1)];
                    let pairs = [simd.mul_add_e_f32s(quarter, before, here), simd.mul_add_e_f32s(quarter, after, here)];
                    put::<S, _>(out, by_turns(simd, pairs));
                }
                Self::Repeat => {
                    let here = simd.mul_f32s(one, line.at::<S>(from));
                    put::<S, _>(out, by_turns(simd, [here; 2]));
                }
                Self::Average => {
                    let means = [line.mean(simd, 2 * from, factor), line.mean(simd, 2 * from + lanes, factor)];
                    put::<S, _>(out, [evens(simd, means)]);
                }
                Self::Halve => {
                    let from = 2 * from - 1;
                    let means = [line.weighted(simd, from, factor), line.weighted(simd, from + lanes, factor)];
                    put::<S, _>(out, [evens(simd, means)]);
                }
                Self::Blur => put::<S, _>(out, [line.weighted(simd, from - 2, factor)]),
                Self::Unblur => put::<S, _>(out, [line.weighted(simd, from - 1, factor)]),
            }
        }
    }
}

/// Values of zero before a line and behind it. Others follow, of any value, so that whole vectors can be read.
const BEFORE: usize = 2;

/// A line with zeros around it.
#[derive(Clone, Copy)]
struct Line<'a>(&'a [f32]);

impl Line<'_> {
    /// Floats that a line of so many values takes.
    fn pitch(width: usize) -> usize {
        BEFORE + (width + 1).next_multiple_of(2 * MOST_LANES) + BEFORE
    }

    /// A vector of values, the first of which is so far on.
    #[inline(always)]
    fn at<S: Simd>(self, from: isize) -> S::f32s {
        let values = &self.0[(BEFORE as isize + from) as usize..][..S::F32_LANES];
        // SAFETY: these are as many values.
        unsafe { load::<S>(values.as_ptr()) }
    }

    /// The means of a value and the next one, multiplied by a factor.
    #[inline(always)]
    fn mean<S: Simd>(self, simd: S, from: isize, factor: f32) -> S::f32s {
        simd.mul_f32s(simd.splat_f32s(0.5 * factor), simd.add_f32s(self.at::<S>(from), self.at::<S>(from + 1)))
    }

    /// The means of a value and the next three by the taps \[1, 3, 3, 1\]/8, multiplied by a factor.
    #[inline(always)]
    fn weighted<S: Simd>(self, simd: S, from: isize, factor: f32) -> S::f32s {
        let ends = simd.add_f32s(self.at::<S>(from), self.at::<S>(from + 3));
        let middle = simd.add_f32s(self.at::<S>(from + 1), self.at::<S>(from + 2));
        let [outer, inner] = [simd.splat_f32s(0.125 * factor), simd.splat_f32s(0.375 * factor)];
        simd.mul_add_e_f32s(outer, ends, simd.mul_f32s(inner, middle))
    }
}

/// Writes what there is room for.
#[inline(always)]
fn put<S: Simd, const N: usize>(out: &mut [f32], vectors: [S::f32s; N]) {
    for (out, vector) in out.chunks_mut(S::F32_LANES).zip(vectors) {
        store_some::<S>(out, vector);
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
    let pitch = Line::pitch(width);
    let at_once = (LINES / pitch).clamp(1, (out.len() / how.length(width)).max(1));
    with_scratch((1 + at_once) * pitch, |lines| {
        arch.dispatch(Change { plane, width, how, factor, lines, pitch, out });
    });
}

/// Work for [`resize_plane`].
struct Change<'a> {
    plane: &'a [f32],
    width: usize,
    how: Resize,
    factor: f32,
    /// Room for a line of zeros and for others, each so long.
    lines: &'a mut [f32],
    pitch: usize,
    out: &'a mut [f32],
}

impl WithSimd for Change<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plane, width, how, factor, lines, pitch, out } = self;
        let (zeros, lines) = lines.split_at_mut(pitch);
        zeros.fill(0.0);
        let zeros = &zeros[..width];
        let wide = how.length(width);
        for line in lines.chunks_exact_mut(pitch) {
            line[..BEFORE].fill(0.0);
            line[BEFORE + width..][..BEFORE].fill(0.0);
        }
        let mut done = 0;
        for out in out.chunks_mut(lines.len() / pitch * wide) {
            let count = out.len() / wide;
            for (i, line) in lines.chunks_exact_mut(pitch).take(count).enumerate() {
                let (sources, weights) = how.sources(done + i);
                let mut of_plane = [zeros; 4];
                for (source, line) in of_plane.iter_mut().zip(sources) {
                    let inside =
                        usize::try_from(line).ok().and_then(|line| plane.get(line * width..(line + 1) * width));
                    *source = inside.unwrap_or(zeros);
                }
                let [a, b, c, d] = of_plane;
                let line = &mut line[BEFORE..][..width];
                match how {
                    Resize::Repeat => mix(simd, [a], &weights, line),
                    Resize::Double | Resize::Average => mix(simd, [a, b], &weights, line),
                    Resize::Halve | Resize::Blur | Resize::Unblur => mix(simd, [a, b, c, d], &weights, line),
                }
            }
            for (line, out) in lines.chunks_exact(pitch).zip(out.chunks_exact_mut(wide)) {
                how.across(simd, Line(line), out, factor);
            }
            done += count;
        }
    }
}

/// The weighted sum of lines of one length.
#[inline(always)]
fn mix<S: Simd, const N: usize>(simd: S, lines: [&[f32]; N], weights: &[f32], out: &mut [f32]) {
    let length = out.len();
    assert!(lines.iter().all(|line| line.len() == length) && weights.len() >= N);
    let whole = length / S::F32_LANES * S::F32_LANES;
    for x in (0..whole).step_by(S::F32_LANES) {
        // SAFETY: all lines and the output go on for a vector.
        unsafe {
            let mut sum = simd.mul_f32s(simd.splat_f32s(weights[0]), load::<S>(lines[0].as_ptr().add(x)));
            for n in 1..N {
                let values = load::<S>(lines[n].as_ptr().add(x));
                sum = simd.mul_add_e_f32s(simd.splat_f32s(weights[n]), values, sum);
            }
            store::<S>(out.as_mut_ptr().add(x), sum);
        }
    }
    if whole < length {
        let mut sum = simd.mul_f32s(simd.splat_f32s(weights[0]), load_some(simd, &lines[0][whole..]));
        for n in 1..N {
            sum = simd.mul_add_e_f32s(simd.splat_f32s(weights[n]), load_some(simd, &lines[n][whole..]), sum);
        }
        store_some::<S>(&mut out[whole..], sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::best;
    use super::super::tests::other_instructions;
    use super::*;

    #[test]
    fn planes_of_all_widths_agree_with_matrices() {
        let all = [Resize::Double, Resize::Halve, Resize::Repeat, Resize::Average, Resize::Blur, Resize::Unblur];
        for arch in other_instructions().into_iter().chain([best()]) {
            for (how, width) in all.into_iter().flat_map(|how| (2..70).map(move |width| (how, width))) {
                let height = if width < 60 { 4 } else { 64 };
                let halves = matches!(how, Resize::Halve | Resize::Average);
                if halves && width % 2 == 1 {
                    continue;
                }
                let planes: Vec<f32> = (0..2 * height * width).map(|i| (i * 7919 % 101) as f32 - 50.0).collect();
                let [down, across] = [how.matrix(height), how.matrix(width)];
                let (tall, wide) = (how.length(height), how.length(width));
                let result = resize(arch, &planes, [height, width], how, 4.0);
                assert_eq!(result.len(), 2 * tall * wide);
                for (i, value) in result.iter().enumerate() {
                    let (plane, y, x) = (i / (tall * wide), i / wide % tall, i % wide);
                    let rows = (0..height).filter(|row| down[y * height + row] != 0.0);
                    let expected: f32 = rows
                        .flat_map(|row| (0..width).map(move |column| (row, column)))
                        .filter(|(_, column)| across[x * width + column] != 0.0)
                        .map(|(row, column)| {
                            let pixel = planes[(plane * height + row) * width + column];
                            4.0 * down[y * height + row] * across[x * width + column] * pixel
                        })
                        .sum();
                    // Sums of such numbers are exact.
                    assert!(*value == expected, "{how:?} {width} {arch:?} {i}: {value} is not {expected}");
                }
            }
        }
    }
}
