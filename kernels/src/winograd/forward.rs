//! Outputs from inputs.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::gathered::{Gathered, MOST_COLUMNS};
use super::kernels::{FEWER_ROWS, Kernels, MOST_ROWS};
use super::straight::{self, Beyond};
use super::transforms::{long, short};
use super::{both_ways, tiles};
use crate::conv::{After, biases_of};
use crate::geometry::{Border, Geometry, Weights};
use crate::products::add_products;
use crate::sharing::{Split, SpotsOfTasks, Task};
use crate::simd::{
    LINE, MOST_LANES, Shared, lanes, load, odd_lines, prefetch_to_write, store, store_by_turns, with_scratch, written,
};
use crate::spots::{Run, Spot, Spots};
use crate::team::each_of;
use crate::window::Window;

/// Rows and columns of pixels of an output tile: how far tiles are apart.
pub const STEPS: [usize; 2] = [short::STEP, long::STEP];
/// Rows and columns of an input tile, and of a transformed one.
pub const SIDES: [usize; 2] = [short::SIDE, long::SIDE];
/// Numbers of a transformed tile.
pub const FREQUENCIES: usize = SIDES[0] * SIDES[1];

/// Vectors of tiles that the inner loop takes together.
const VECTORS: usize = 3;

/// Tiles below which transformed kernels are not read often enough: those that lie in the third cache at most, and others.
const FEWEST_TILES: [usize; 2] = [16, 64];

/// Kernels that lie in the third cache once they are transformed, to 96 bytes each: 12 megabytes.
const NEAR: usize = 1 << 17;

/// Whether this is the faster way.
pub fn suits(geometry: &Geometry) -> bool {
    let tiles = geometry.batch * tiles(geometry, STEPS).iter().product::<usize>();
    let [near, far] = FEWEST_TILES;
    super::suits(geometry) && tiles >= if geometry.inputs * geometry.outputs <= NEAR { near } else { far }
}

/// The convolution of `input` `[batch, inputs, ..]` by kernels of 3 x 3.
pub fn forward(arch: Arch, geometry: &Geometry, input: &[f32], weights: Weights, after: After) -> Vec<f32> {
    let beyond = match geometry.border {
        Border::Zero => Beyond::Zeros,
        Border::Reflect => Beyond::Mirrored,
    };
    convolved(arch, geometry, input, weights, after, beyond)
}

/// The same, where images that are read [`straight`] may have something else beyond their borders.
pub fn convolved(
    arch: Arch,
    geometry: &Geometry,
    input: &[f32],
    weights: Weights,
    after: After,
    beyond: Beyond,
) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, size, padding, border, .. } = *geometry;
    let lanes = lanes(arch);
    let (size_out, tiles) = (geometry.size_out(), tiles(geometry, STEPS));
    let window = |rows| {
        let window = Window::of(size, [rows, tiles[1]], SIDES, STEPS, padding, border);
        // Lanes without a tile cost more than pixels that are laid out twice.
        let vectors = |pitch| Spots::count([rows, tiles[1]], pitch, lanes);
        if vectors(tiles[1]) < vectors(window.pitch) { window.with_taps_apart(tiles[1], SIDES[1]) } else { window }
    };
    let (straight, small) = (straight::suits(geometry, lanes), tiles[1] <= MOST_COLUMNS);
    assert!(straight || !matches!(beyond, Beyond::Folded), "rows are folded where they lie");
    let floats_a_row = inputs
        * match (straight, small) {
            (true, _) => STEPS[0] * size[1],
            (_, true) => FREQUENCIES * tiles[1],
            _ => window(tiles[0]).floats_a_row(),
        };
    let split = Split::new(batch, tiles, outputs, floats_a_row, after.bias);
    let source = if straight {
        Source::Straight(beyond)
    } else if small {
        Source::Gathered(Gathered::new(geometry, tiles[1], split.images * split.band, lanes))
    } else {
        Source::Window(window(split.band))
    };
    let tasks = split.tasks(batch, tiles[0], outputs);
    let spots = SpotsOfTasks::new(&tasks, |images, rows| match &source {
        Source::Straight(_) | Source::Gathered(_) => Spots::new([images * rows, tiles[1]], tiles[1], lanes),
        Source::Window(window) => {
            Spots::new([rows, tiles[1]], window.pitch, lanes).repeated(images, window.length(inputs), rows * tiles[1])
        }
    });
    let fill = |kernels: Kernels, target: Shared| {
        each_of(&tasks, |_, task| {
            let spots = spots.of(task);
            let laid_out = source.length(inputs, task.images).next_multiple_of(MOST_LANES);
            let transformed = FREQUENCIES * odd_lines(inputs * VECTORS * lanes);
            let products = FREQUENCIES * MOST_ROWS * VECTORS * lanes;
            with_scratch(laid_out + transformed + products, |scratch| {
                let (laid_out, scratch) = scratch.split_at_mut(laid_out);
                let (transformed, products) = scratch.split_at_mut(transformed);
                let area = inputs * geometry.area();
                let images = &input[task.image * area..][..task.images * area];
                let image = outputs * geometry.area_out();
                let place = |run| Place::of(run, task, [task.rows, tiles[1]], size_out, image);
                let places: Vec<Place> = spots.runs.iter().map(place).collect();
                let mut tiles = Tiles {
                    inputs,
                    input: source.laid_out(arch, geometry, images, task, spots, laid_out),
                    spots,
                    transformed,
                    products,
                    kernels,
                    rows: [task.channel, task.channels],
                    bias: biases_of(task, after.bias, outputs),
                    places: &places,
                    size: size_out,
                    // SAFETY: the task's first image and channel are in the output.
                    target: Shared(unsafe { target.at(task.image * image + task.channel * geometry.area_out()) }),
                };
                arch.dispatch(&mut tiles);
            });
            let rows = STEPS[0] * task.first..(STEPS[0] * (task.first + task.rows)).min(size_out[0]);
            // SAFETY: the task's own rows, which were written.
            unsafe { after.finish(arch, geometry, task, rows, target) };
        });
    };
    // SAFETY: the tasks are the whole output.
    Kernels::with(arch, geometry, weights, |kernels| unsafe {
        written(batch * outputs * geometry.area_out(), |target| fill(kernels, target))
    })
}

/// How the images of a task are read.
enum Source<'a> {
    /// From where they lie.
    Straight(Beyond),
    /// Laid out one after another, the pixels of each once or twice.
    Window(Window),
    /// Laid out tile by tile.
    Gathered(Gathered<'a>),
}

impl Source<'_> {
    /// Floats of so many channels and images, laid out.
    fn length(&self, channels: usize, images: usize) -> usize {
        match self {
            Self::Straight(_) => 0,
            Self::Window(window) => images * window.length(channels),
            Self::Gathered(gathered) => channels * gathered.plane(),
        }
    }

    /// Lays out the images of a task, `[images, channels, height, width]`, as far as need be.
    fn laid_out<'a>(
        &self,
        arch: Arch,
        geometry: &Geometry,
        images: &'a [f32],
        task: &Task,
        spots: &Spots,
        laid_out: &'a mut [f32],
    ) -> Input<'a> {
        let channels = geometry.inputs;
        match self {
            Self::Straight(beyond) => {
                let tiles = straight::Tiles::of_task(geometry, task, spots, lanes(arch));
                Input::Straight { values: images, plane: geometry.area(), beyond: *beyond, tiles }
            }
            Self::Window(window) => {
                let images = images.chunks_exact(images.len() / task.images);
                for (image, laid_out) in images.zip(laid_out.chunks_exact_mut(window.length(channels))) {
                    window.fill(arch, image, channels, task.first, laid_out);
                }
                let taps = std::array::from_fn(|y| std::array::from_fn(|x| window.tap(y, x)));
                Input::LaidOut { values: laid_out, plane: window.plane(), taps }
            }
            Self::Gathered(gathered) => {
                gathered.fill(images, [task.first, task.rows], laid_out);
                let taps = std::array::from_fn(|y| std::array::from_fn(|x| gathered.tap(y, x)));
                Input::LaidOut { values: laid_out, plane: gathered.plane(), taps }
            }
        }
    }
}

/// The images of a task as they are read.
enum Input<'a> {
    /// As they are.
    Straight {
        values: &'a [f32],
        /// Floats of a channel.
        plane: usize,
        beyond: Beyond,
        /// For each spot.
        tiles: Vec<straight::Tiles>,
    },
    /// Each number of the tiles in lines of its own.
    LaidOut {
        values: &'a [f32],
        /// Floats of a channel.
        plane: usize,
        /// How far the numbers of a tile are from its first.
        taps: [[usize; SIDES[1]]; SIDES[0]],
    },
}

/// Where the tiles of a run go.
struct Place {
    /// The first pixel, counted from the plane of the task's first image.
    start: usize,
    /// Rows of pixels.
    rows: usize,
    /// Pixels in each.
    pixels: usize,
}

impl Place {
    /// Of a run of a task whose images have so many rows and columns of tiles, and outputs of so many floats.
    fn of(run: &Run, task: &Task, [rows, columns]: [usize; 2], [height, width]: [usize; 2], image: usize) -> Self {
        let (line, column) = (run.target / columns, STEPS[1] * (run.target % columns));
        let row = STEPS[0] * (task.first + line % rows);
        Self {
            start: line / rows * image + row * width + column,
            rows: (height - row).min(STEPS[0]),
            pixels: (STEPS[1] * (run.to - run.from)).min(width - column),
        }
    }
}

/// The pixels of a vector of tiles, row by row.
#[repr(align(64))]
struct Lines([[f32; STEPS[1] * MOST_LANES]; STEPS[0]]);

/// The tiles of a task, from the input to the output.
struct Tiles<'a> {
    inputs: usize,
    input: Input<'a>,
    spots: &'a Spots,
    /// Room for the frequencies of all inputs at a group of spots: `[frequencies, inputs, vectors, lanes]`, each
    /// frequency filled up to an odd number of lines.
    transformed: &'a mut [f32],
    /// Room for those of the outputs of a block: `[frequencies, outputs, vectors, lanes]`.
    products: &'a mut [f32],
    kernels: Kernels<'a>,
    /// The first output, which begins a block of kernels, and how many there are.
    rows: [usize; 2],
    bias: Option<&'a [f32]>,
    /// Of each run of the spots.
    places: &'a [Place],
    /// Height and width of the output.
    size: [usize; 2],
    /// The plane of the first output.
    target: Shared,
}

/// The frequencies of so many inputs at `N` spots, whose tiles are read by `tile_of`.
///
/// # Safety
/// There must be room for the frequencies.
#[inline(always)]
unsafe fn transform<S: Simd, const N: usize>(
    simd: S,
    inputs: usize,
    to: *mut f32,
    tile_of: impl Fn(usize, usize) -> [[S::f32s; SIDES[1]]; SIDES[0]],
) {
    let apart = odd_lines(inputs * N * S::F32_LANES);
    for input in 0..inputs {
        for j in 0..N {
            let tile = both_ways(
                tile_of(input, j),
                #[inline(always)]
                |column| short::of_input(simd, column),
                #[inline(always)]
                |row| long::of_input(simd, row),
            );
            for y in 0..SIDES[0] {
                for x in 0..SIDES[1] {
                    let place = (y * SIDES[1] + x) * apart + (input * N + j) * S::F32_LANES;
                    // SAFETY: the caller's promise.
                    unsafe { store::<S>(to.add(place), tile[y][x]) };
                }
            }
        }
    }
}

impl WithSimd for &mut Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As even as may be: a vector alone takes as many kernels from memory as three.
        let count = self.spots.spots.len();
        let groups = count.div_ceil(VECTORS);
        for group in 0..groups {
            let spots = group * count / groups..(group + 1) * count / groups;
            // SAFETY: there is room for all that is written, and the input has all that the spots read.
            unsafe {
                match (self.kernels.rows, spots.len()) {
                    (MOST_ROWS, VECTORS) => self.group::<S, MOST_ROWS, VECTORS>(simd, spots),
                    (MOST_ROWS, 2) => self.group::<S, MOST_ROWS, 2>(simd, spots),
                    (MOST_ROWS, _) => self.group::<S, MOST_ROWS, 1>(simd, spots),
                    (_, VECTORS) => self.group::<S, FEWER_ROWS, VECTORS>(simd, spots),
                    (_, 2) => self.group::<S, FEWER_ROWS, 2>(simd, spots),
                    _ => self.group::<S, FEWER_ROWS, 1>(simd, spots),
                }
            }
        }
    }
}

impl Tiles<'_> {
    /// All outputs at `N` spots, `M` together: what is transformed stays in the caches until all have read it.
    ///
    /// # Safety
    /// Every number of the tiles of every spot must be readable, there must be room for the frequencies, and the output of every
    /// run must be writable.
    #[inline(always)]
    unsafe fn group<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, spots: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            self.transform::<S, N>(simd, spots.clone());
            for row in (0..self.rows[1]).step_by(M) {
                self.block::<S, M, N>(simd, row, &self.spots.spots[spots.clone()]);
            }
        }
    }

    /// The frequencies of all inputs at `N` spots.
    ///
    /// # Safety
    /// Every number of the tiles of every spot must be readable, and there must be room for the frequencies.
    #[inline(always)]
    unsafe fn transform<S: Simd, const N: usize>(&mut self, simd: S, spots: Range<usize>) {
        let to = self.transformed.as_mut_ptr();
        // SAFETY: the caller's promise.
        unsafe {
            match &self.input {
                Input::Straight { values, plane, beyond, tiles } => {
                    let tiles = &tiles[spots];
                    macro_rules! transform {
                        ($mirrored:literal, $folded:literal) => {
                            transform::<S, N>(
                                simd,
                                self.inputs,
                                to,
                                #[inline(always)]
                                |input, j| {
                                    let channel = values.as_ptr().add(input * plane);
                                    tiles[j].load::<S, $mirrored, $folded>(simd, channel)
                                },
                            )
                        };
                    }
                    match beyond {
                        Beyond::Zeros => transform!(false, false),
                        Beyond::Mirrored => transform!(true, false),
                        Beyond::Folded => transform!(false, true),
                    }
                }
                Input::LaidOut { values, plane, taps } => {
                    let spots = &self.spots.spots[spots];
                    transform::<S, N>(
                        simd,
                        self.inputs,
                        to,
                        #[inline(always)]
                        |input, j| {
                            let from = values.as_ptr().add(input * plane + spots[j].source);
                            let mut tile = [[simd.splat_f32s(0.0); SIDES[1]]; SIDES[0]];
                            for y in 0..SIDES[0] {
                                for x in 0..SIDES[1] {
                                    tile[y][x] = load::<S>(from.add(taps[y][x]));
                                }
                            }
                            tile
                        },
                    );
                }
            }
        }
    }

    /// `M` outputs from `row` on at `N` spots.
    ///
    /// # Safety
    /// The frequencies must have been computed, and the output of every run be writable.
    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, row: usize, spots: &[Spot]) {
        let kernels = self.kernels.of(self.rows[0] + row);
        let products = self.products.as_mut_ptr();
        for i in 0..M.min(self.rows[1] - row) {
            // SAFETY: a plane of this task's output.
            let plane = unsafe { self.target.at((row + i) * self.size[0] * self.size[1]) };
            for j in 0..N {
                self.announce(plane, &spots[j]);
            }
        }
        // SAFETY: the caller's promise; kernels of all frequencies and inputs are there.
        unsafe {
            let values = N * S::F32_LANES;
            for frequency in 0..FREQUENCIES {
                let sides = [
                    (kernels.as_ptr().add(frequency * self.kernels.line), M),
                    (self.transformed.as_ptr().add(frequency * odd_lines(self.inputs * values)), values),
                ];
                let mut sums = [[simd.splat_f32s(0.0); N]; M];
                add_products(simd, sides, self.inputs, &mut sums);
                for i in 0..M {
                    for j in 0..N {
                        store::<S>(products.add(((frequency * M + i) * N + j) * S::F32_LANES), sums[i][j]);
                    }
                }
            }
            for i in 0..M.min(self.rows[1] - row) {
                let bias = simd.splat_f32s(self.bias.map_or(0.0, |bias| bias[row + i]));
                let plane = self.target.at((row + i) * self.size[0] * self.size[1]);
                for j in 0..N {
                    let from = products.add((i * N + j) * S::F32_LANES);
                    let mut tile = [[simd.splat_f32s(0.0); SIDES[1]]; SIDES[0]];
                    for y in 0..SIDES[0] {
                        for x in 0..SIDES[1] {
                            tile[y][x] = load::<S>(from.add((y * SIDES[1] + x) * M * N * S::F32_LANES));
                        }
                    }
                    let mut tile = both_ways(
                        tile,
                        #[inline(always)]
                        |column| short::to_output(simd, column),
                        #[inline(always)]
                        |row| long::to_output(simd, row),
                    );
                    for y in 0..STEPS[0] {
                        for x in 0..STEPS[1] {
                            tile[y][x] = simd.add_f32s(tile[y][x], bias);
                        }
                    }
                    self.put::<S>(plane, spots.get_unchecked(j), tile);
                }
            }
        }
    }

    /// Has the lines of the pixels of a vector of tiles brought near, which are about to be written.
    #[inline(always)]
    fn announce(&self, plane: *mut f32, spot: &Spot) {
        for place in &self.places[spot.runs.clone()] {
            for row in 0..place.rows {
                for pixel in (0..place.pixels).step_by(LINE) {
                    prefetch_to_write(plane.wrapping_add(place.start + row * self.size[1] + pixel));
                }
            }
        }
    }

    /// Writes the pixels of the tiles of a vector.
    ///
    /// # Safety
    /// The pixels of every run must be writable.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, plane: *mut f32, spot: &Spot, tile: [[S::f32s; STEPS[1]]; STEPS[0]]) {
        // From the start of a line of the caches on: what is read again as it was written is then at hand at once.
        let mut lines = Lines([[0.0; STEPS[1] * MOST_LANES]; STEPS[0]]);
        for row in 0..STEPS[0] {
            // SAFETY: no vector has more lanes.
            unsafe { store_by_turns::<S>(lines.0[row].as_mut_ptr(), tile[row]) };
        }
        for (run, place) in self.spots.runs(spot).iter().zip(&self.places[spot.runs.clone()]) {
            let Place { start, rows, pixels } = *place;
            for row in 0..rows {
                // SAFETY: the caller's promise.
                unsafe {
                    let (from, to) = (lines.0[row].as_ptr(), plane.add(start + row * self.size[1]));
                    let from = from.add(STEPS[1] * run.from);
                    if pixels.is_multiple_of(S::F32_LANES) {
                        for by in (0..pixels).step_by(S::F32_LANES) {
                            store::<S>(to.add(by), load::<S>(from.add(by)));
                        }
                    } else {
                        std::ptr::copy_nonoverlapping(from, to, pixels);
                    }
                }
            }
        }
    }
}
