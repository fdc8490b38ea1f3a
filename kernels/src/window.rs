//! Images laid out for a convolution: with their borders, in rows of one pitch, so that each tap of a kernel is a fixed
//! distance away and the pixels of several short rows make one vector.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::geometry::{Border, Geometry};
use super::simd::{LINE, part, prefetch_to_read, transposed_eight};

/// How a band of an image is laid out.
///
/// With a stride, the pixels are parted by the remainder of their row and column (their phase), so that the pixels which
/// one tap sees lie side by side in any case.
#[derive(Debug, Clone)]
pub struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    border: Border,
    /// Rows of one phase.
    rows: usize,
    /// Phases across: those of the stride, or as many as taps where each has its own.
    lines: usize,
    /// Floats from one row to the next.
    pub pitch: usize,
}

/// Pixels that are turned together where they are laid out in four lines, or twice as many.
const FOUR: usize = 4;
const EIGHT: usize = 8;

/// Places of the rows that are put down before they are laid out in four lines: they stay in the first cache.
const AT_ONCE: usize = 1 << 9;

/// How far ahead of the pixels that are laid out others are brought near, in floats: beyond the end of a page the processor
/// does not look by itself.
const AHEAD: usize = 512;

/// Floats behind the last plane that vectors may read and nothing depends on.
const SLACK: usize = 64;

impl Window {
    /// For `rows` rows of output of this convolution.
    pub fn new(geometry: &Geometry, rows: usize) -> Self {
        let Geometry { size, kernel, stride, padding, border, .. } = *geometry;
        Self::of(size, [rows, geometry.size_out()[1]], kernel, stride, padding, border)
    }

    /// For an output of this many rows and columns; the padding stands above and to the left, and what is needed below
    /// and to the right.
    pub fn of(
        size: [usize; 2],
        out: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        border: Border,
    ) -> Self {
        let needed = [0, 1].map(|axis| (out[axis] - 1) * stride[axis] + kernel[axis]);
        let columns = if border == Border::Zero && stride == [1, 1] {
            // The zeros before a row serve the row above as the zeros behind it.
            (needed[1].saturating_sub(padding[1])).max(needed[1].min(padding[1] + size[1]))
        } else {
            needed[1]
        };
        let [rows, pitch] = [needed[0].div_ceil(stride[0]), columns.div_ceil(stride[1])];
        Self { size, stride, padding, border, rows, lines: stride[1], pitch }
    }

    /// For a step of four across, the same with so many columns of output, four at least, that each of at most eight taps across
    /// has pixels of its own: some pixels twice, but no column between the rows that is no output.
    pub fn with_taps_apart(self, columns: usize, taps: usize) -> Self {
        assert!(self.stride[1] == FOUR && columns >= FOUR && (FOUR..=2 * FOUR).contains(&taps));
        Self { lines: taps, pitch: columns, ..self }
    }

    /// Floats of one channel.
    pub fn plane(&self) -> usize {
        self.rows * self.floats_a_row()
    }

    /// Floats that a row of output more takes in one channel.
    pub fn floats_a_row(&self) -> usize {
        self.stride[0] * self.lines * self.pitch
    }

    /// Floats of several channels, with room to read beyond.
    pub fn length(&self, channels: usize) -> usize {
        channels * self.plane() + SLACK
    }

    /// How far the value under a tap is from the value under the first.
    pub fn tap(&self, row: usize, column: usize) -> usize {
        let (down, lines) = (self.stride[0], self.lines);
        let phase = (row % down) * lines + column % lines;
        (phase * self.rows + row / down) * self.pitch + column / lines
    }

    /// Distances of all taps of all channels from the first.
    pub fn offsets(&self, channels: usize, [height, width]: [usize; 2]) -> Vec<usize> {
        let taps = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let taps: Vec<usize> = taps.map(|(row, column)| self.tap(row, column)).collect();
        (0..channels).flat_map(|channel| taps.iter().map(move |tap| channel * self.plane() + tap)).collect()
    }

    /// Lays out channels, `[channels, height, width]`, from row `first` of the output on.
    pub fn fill(&self, arch: Arch, image: &[f32], channels: usize, first: usize, laid_out: &mut [f32]) {
        arch.dispatch(Fill { window: self, image, channels, first, laid_out: &mut *laid_out });
        laid_out[channels * self.plane()..self.length(channels)].fill(0.0);
    }

    #[inline(always)]
    fn fill_channels<S: Simd>(&self, image: &[f32], channels: usize, first: usize, laid_out: &mut [f32]) {
        let [height, width] = self.size;
        let [down, across] = self.stride;
        let pairs = (across == 2).then(|| Pairs::of(self));
        let mut fours = (across == FOUR).then(|| Fours::of(self));
        // In the order of the pixels, or the rows of one phase after those of the other.
        let by_phases = fours.is_some();
        let place = |i| if by_phases { (i / self.rows, i % self.rows) } else { (i % down, i / down) };
        let rows = (0..down * self.rows).map(place);
        let rows = rows.map(|(phase, row)| Row {
            start: (phase * self.lines * self.rows + row) * self.pitch,
            source: self.border.place((first + row) * down + phase, self.padding[0], height),
        });
        let rows: Vec<Row> = rows.collect();
        for channel in 0..channels {
            let image = &image[channel * height * width..][..height * width];
            let plane = &mut laid_out[channel * self.plane()..][..self.plane()];
            if let Some(fours) = &mut fours {
                fours.fill::<S>(&rows, image, width, plane);
                continue;
            }
            for row in &rows {
                let lines = &mut plane[row.start..];
                match (row.of(image, width), &pairs) {
                    (Some(source), Some(pairs)) => pairs.fill(source, lines),
                    (Some(source), None) => {
                        for phase in 0..across {
                            self.fill_row(source, phase, &mut lines[phase * self.rows * self.pitch..][..self.pitch]);
                        }
                    }
                    (None, _) => {
                        for phase in 0..across {
                            lines[phase * self.rows * self.pitch..][..self.pitch].fill(0.0);
                        }
                    }
                }
            }
        }
    }

    /// Lays out every `across`-th pixel of a row, from `phase` on.
    #[inline(always)]
    fn fill_row(&self, source: &[f32], phase: usize, row: &mut [f32]) {
        let [_, across] = self.stride;
        let [_, before] = self.padding;
        // The places of the pixels that are in the image.
        let start = before.saturating_sub(phase).div_ceil(across);
        let pixel = start * across + phase - before;
        let end = (start + source.len().saturating_sub(pixel).div_ceil(across)).min(row.len());
        if end > start {
            let (inner, source) = (&mut row[start..end], &source[pixel..]);
            if across == 1 {
                inner.copy_from_slice(&source[..end - start]);
            } else {
                for (value, pixel) in inner.iter_mut().zip(source.iter().step_by(across)) {
                    *value = *pixel;
                }
            }
        }
        self.fill_border(source, phase, row, [start, end]);
    }

    /// Lays out what a row of a phase has outside of the image.
    #[inline(always)]
    fn fill_border(&self, source: &[f32], phase: usize, row: &mut [f32], [start, end]: [usize; 2]) {
        for i in (0..start).chain(end..row.len()) {
            let place = self.border.place(i * self.stride[1] + phase, self.padding[1], source.len());
            row[i] = place.map_or(0.0, |x| source[x]);
        }
    }
}

/// Work for [`Window::fill_channels`].
struct Fill<'a> {
    window: &'a Window,
    image: &'a [f32],
    channels: usize,
    first: usize,
    laid_out: &'a mut [f32],
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.window.fill_channels::<S>(self.image, self.channels, self.first, self.laid_out);
    }
}

/// A row of what is laid out.
struct Row {
    /// Where its first line begins.
    start: usize,
    /// The row of pixels that stands there, if there is one.
    source: Option<usize>,
}

impl Row {
    /// Its pixels; those that follow are brought near.
    #[inline(always)]
    fn of<'a>(&self, image: &'a [f32], width: usize) -> Option<&'a [f32]> {
        let source = &image[self.source? * width..][..width];
        for x in (0..width).step_by(LINE) {
            prefetch_to_read(source.as_ptr().wrapping_add(x + AHEAD));
        }
        Some(source)
    }
}

/// How a row is laid out by turns in two, even and odd places, each pixel read once.
struct Pairs {
    /// Floats from the even to the odd places.
    apart: usize,
    /// The place of the first pixel, and whether it is an odd one: then the second goes to the even place behind it.
    start: usize,
    turned: bool,
    /// Pairs, and whether a first pixel without a second follows.
    count: usize,
    one_more: bool,
    /// The places outside of the image, and which pixels stand there.
    border: Vec<(usize, Option<usize>)>,
}

impl Pairs {
    fn of(window: &Window) -> Self {
        let Window { size: [_, width], padding: [_, before], border, rows, pitch, .. } = *window;
        let (apart, start, turned) = (rows * pitch, before / 2, before % 2 == 1);
        let room = [pitch - start, pitch - start - usize::from(turned)];
        let count = (width / 2).min(room[0]).min(room[1]);
        let one_more = 2 * count < width && count < room[0];
        let [firsts, seconds] = [[start, count + usize::from(one_more)], [start + usize::from(turned), count]]
            .map(|[from, n]| from..from + n);
        let filled = if turned { [seconds, firsts] } else { [firsts, seconds] };
        let outside = [0, 1].into_iter().flat_map(|phase| {
            let places = (0..pitch).filter(|place| !filled[phase].contains(place)).collect::<Vec<_>>();
            places.into_iter().map(move |i| (phase * apart + i, border.place(2 * i + phase, before, width)))
        });
        Self { apart, start, turned, count, one_more, border: outside.collect() }
    }

    /// Lays out a row, whose even places begin here.
    #[inline(always)]
    fn fill(&self, source: &[f32], target: &mut [f32]) {
        let (even, odd) = target.split_at_mut(self.apart);
        let (firsts, seconds) = if self.turned {
            (&mut odd[self.start..], &mut even[self.start + 1..])
        } else {
            (&mut even[self.start..], &mut odd[self.start..])
        };
        part(&source.as_chunks().0[..self.count], &mut firsts[..self.count], &mut seconds[..self.count]);
        if self.one_more {
            firsts[self.count] = source[2 * self.count];
        }
        for (place, pixel) in &self.border {
            target[*place] = pixel.map_or(0.0, |pixel| source[pixel]);
        }
    }
}

/// How rows are put down with their borders, all places one after another.
pub struct Bordered {
    /// Places of a row.
    pub places: usize,
    /// Where pixels stand, and which is the first of them.
    inside: Range<usize>,
    first: usize,
    /// The places outside of the image where pixels stand, and which.
    outside: Vec<(usize, usize)>,
}

impl Bordered {
    /// For rows of so many pixels, some of their places, counted from so many before the first pixel.
    pub fn new(width: usize, before: usize, places: Range<usize>, border: Border) -> Self {
        let start = before.max(places.start);
        let inside = start..(before + width).clamp(start, places.end);
        let outside = (places.start..inside.start).chain(inside.end..places.end);
        let outside = outside.filter_map(|place| Some((place - places.start, border.place(place, before, width)?)));
        Self {
            places: places.len(),
            first: inside.start - before,
            inside: inside.start - places.start..inside.end - places.start,
            outside: outside.collect(),
        }
    }

    /// Puts a row down; places without a pixel are left alone.
    #[inline(always)]
    pub fn put(&self, source: &[f32], row: &mut [f32]) {
        row[self.inside.clone()].copy_from_slice(&source[self.first..][..self.inside.len()]);
        for (place, pixel) in &self.outside {
            row[*place] = source[*pixel];
        }
    }
}

/// How the rows of a phase are laid out by turns in four lines, and in further ones that begin with the second pixels of the first
/// ones.
struct Fours {
    /// Of each group of four lines or less, how rows are put down with their borders before, and room for several: what has
    /// just been written cannot be read at once by other vectors.
    groups: Vec<(Bordered, Vec<f32>)>,
    /// Phases, the rows of each, and how many of them are put down.
    phases: usize,
    rows: usize,
    at_once: usize,
    /// All lines, and how far they are apart.
    lines: usize,
    apart: usize,
}

impl Fours {
    fn of(window: &Window) -> Self {
        let Window { size: [_, width], padding: [_, before], border, rows, pitch, lines, stride: [down, _], .. } =
            *window;
        let places = FOUR * pitch;
        let at_once = (AT_ONCE / places).clamp(1, rows);
        let group = |first| (Bordered::new(width, before, first..first + places, border), vec![0.0; at_once * places]);
        Self {
            groups: (0..lines).step_by(FOUR).map(group).collect(),
            phases: down,
            at_once,
            rows,
            lines,
            apart: rows * pitch,
        }
    }

    /// Lays out all rows of a channel.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, rows: &[Row], image: &[f32], width: usize, plane: &mut [f32]) {
        for first in (0..self.rows).step_by(self.at_once) {
            let count = self.at_once.min(self.rows - first);
            for phase in 0..self.phases {
                let rows = &rows[phase * self.rows + first..][..count];
                for (group, (bordered, values)) in self.groups.iter_mut().enumerate() {
                    for (i, row) in rows.iter().enumerate() {
                        let values = &mut values[i * bordered.places..][..bordered.places];
                        match row.of(image, width) {
                            Some(source) => bordered.put(source, values),
                            None => values.fill(0.0),
                        }
                    }
                    let lines = [(self.lines - FOUR * group).min(FOUR), self.apart];
                    let target = &mut plane[rows[0].start + FOUR * group * self.apart..];
                    part_in_four::<S>(&values[..count * bordered.places], target, lines);
                }
            }
        }
    }
}

/// Puts values in four lines by turns, or in the first ones of four.
#[inline(always)]
fn part_in_four<S: Simd>(values: &[f32], target: &mut [f32], [lines, apart]: [usize; 2]) {
    match lines {
        1 => part_in_lines::<S, 1>(values, target, apart),
        2 => part_in_lines::<S, 2>(values, target, apart),
        3 => part_in_lines::<S, 3>(values, target, apart),
        _ => part_in_lines::<S, FOUR>(values, target, apart),
    }
}

#[inline(always)]
fn part_in_lines<S: Simd, const LINES: usize>(values: &[f32], target: &mut [f32], apart: usize) {
    let fours = values.as_chunks::<FOUR>().0;
    let (eights, rest) = fours.as_chunks::<EIGHT>();
    for (i, block) in eights.iter().enumerate() {
        let columns = transposed_eight::<S>(block);
        for line in 0..LINES {
            target[line * apart + EIGHT * i..][..EIGHT].copy_from_slice(&columns[line]);
        }
    }
    for (i, four) in rest.iter().enumerate() {
        for line in 0..LINES {
            target[line * apart + EIGHT * eights.len() + i] = four[line];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::best;
    use super::*;

    #[test]
    fn taps_apart_see_what_they_see_together() {
        let (kernel, stride) = ([4, 6], [2, 4]);
        for border in [Border::Zero, Border::Reflect] {
            for (size, padding, first) in
                [([6, 16], 1usize, 0), ([9, 17], 1, 1), ([4, 18], 0, 0), ([5, 15], 2, 1), ([9, 33], 1, 0)]
            {
                let image: Vec<f32> = (1..=2 * size[0] * size[1]).map(|value| value as f32).collect();
                let tiles = [2, (size[1] + 2 * padding - 2).div_ceil(stride[1])];
                let together = Window::of(size, tiles, kernel, stride, [padding; 2], border);
                let apart = together.clone().with_taps_apart(tiles[1], kernel[1]);
                let of_channels = (0..2).flat_map(|channel| (0..tiles[0] * tiles[1]).map(move |tile| (channel, tile)));
                let taps = (0..kernel[0]).flat_map(|row| (0..kernel[1]).map(move |column| [row, column]));
                let [together, apart] = [together, apart].map(|window| {
                    let mut laid_out = vec![f32::NAN; window.length(2)];
                    window.fill(best(), &image, 2, first, &mut laid_out);
                    let see = |(channel, tile): (usize, usize), [row, column]: [usize; 2]| {
                        let place = tile / tiles[1] * window.pitch + tile % tiles[1] + window.tap(row, column);
                        laid_out[channel * window.plane() + place]
                    };
                    let of_tile = |tile| taps.clone().map(move |tap| (tile, tap));
                    of_channels.clone().flat_map(of_tile).map(|(tile, tap)| see(tile, tap)).collect::<Vec<f32>>()
                });
                assert_eq!(together, apart, "{size:?} {padding} {first} {border:?}");
                // The tap above and left of a tile's middle, of the first tile in the second row.
                let place = (tiles[1] * kernel[0] + 1) * kernel[1] + 1;
                let pixel = [stride[0] * (first + 1) + 1, 1].map(|place| place as isize - padding as isize);
                let expected = match pixel {
                    [y, x] if y >= 0 && x >= 0 && (y as usize) < size[0] => image[y as usize * size[1] + x as usize],
                    _ => continue,
                };
                assert_eq!(together[place], expected);
            }
        }
    }
}
