//! Outputs from inputs.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::{Arch, Simd, WithSimd};

use super::kernels::{FEWER_ROWS, Kernels, MOST_ROWS};
use super::{FREQUENCIES, MOST_LANES, SIDE, both_ways, of_input, sums_of_products, tiles, to_output};
use crate::conv::biases_of;
use crate::geometry::{Geometry, Weights};
use crate::sharing::{Split, SpotsOfTasks, Task};
use crate::simd::{LINE, Shared, lanes, load, odd_lines, prefetch_to_write, store, with_scratch, written};
use crate::spots::{Run, Spot, Spots};
use crate::team::each_of;
use crate::window::Window;

/// Vectors of tiles that the inner loop takes together.
const VECTORS: usize = 3;

/// Tiles below which transformed kernels are not read often enough: those that stay in the second cache, and others.
const FEWEST_TILES: [usize; 2] = [64, 128];

/// Kernels that stay in the second cache once they are transformed, to 64 bytes each: a megabyte.
const NEAR: usize = 1 << 14;

/// Whether this is the faster way.
pub fn suits(geometry: &Geometry) -> bool {
    let [near, far] = FEWEST_TILES;
    super::suits(geometry, if geometry.inputs * geometry.outputs <= NEAR { near } else { far })
}

/// The convolution of `input` `[batch, inputs, ..]` by kernels of 3 x 3; `bias` `[outputs]` or `[batch, outputs]`.
pub fn forward(arch: Arch, geometry: &Geometry, input: &[f32], weights: Weights, bias: Option<&[f32]>) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, size, padding, border, .. } = *geometry;
    let lanes = lanes(arch);
    let (size_out, tiles) = (geometry.size_out(), tiles(geometry));
    let window = |rows| {
        let window = Window::of(size, [rows, tiles[1]], [SIDE; 2], [2, 2], padding, border);
        // Lanes without a tile cost more than pixels that are laid out twice.
        let vectors = |pitch| Spots::count([rows, tiles[1]], pitch, lanes);
        if vectors(tiles[1]) < vectors(window.pitch) { window.with_taps_apart(tiles[1]) } else { window }
    };
    let floats_a_row = inputs * window(tiles[0]).floats_a_row();
    let split = Split::new(batch, tiles, outputs, floats_a_row, bias);
    let window = window(split.band);
    let image = window.length(inputs);
    let tasks = split.tasks(batch, tiles[0], outputs);
    let spots = SpotsOfTasks::new(&tasks, |images, rows| {
        Spots::new([rows, tiles[1]], window.pitch, lanes).repeated(images, image, rows * tiles[1])
    });
    let taps: [[usize; SIDE]; SIDE] = std::array::from_fn(|y| std::array::from_fn(|x| window.tap(y, x)));
    let fill = |kernels: Kernels, target: Shared| {
        each_of(&tasks, |_, task| {
            let spots = spots.of(task);
            let laid_out = (task.images * image).next_multiple_of(MOST_LANES);
            let transformed = FREQUENCIES * odd_lines(inputs * VECTORS * lanes);
            let products = FREQUENCIES * MOST_ROWS * VECTORS * lanes;
            with_scratch(laid_out + transformed + products, |scratch| {
                let (source, scratch) = scratch.split_at_mut(laid_out);
                for (i, source) in source.chunks_exact_mut(image).take(task.images).enumerate() {
                    let input = &input[(task.image + i) * inputs * geometry.area()..][..inputs * geometry.area()];
                    window.fill(arch, input, inputs, task.first, source);
                }
                let (transformed, products) = scratch.split_at_mut(transformed);
                let image = outputs * geometry.area_out();
                let place = |run| Place::of(run, task, [task.rows, tiles[1]], size_out, image);
                let places: Vec<Place> = spots.runs.iter().map(place).collect();
                let mut tiles = Tiles {
                    inputs,
                    source,
                    plane: window.plane(),
                    taps: &taps,
                    spots,
                    transformed,
                    products,
                    kernels,
                    rows: [task.channel, task.channels],
                    bias: biases_of(task, bias, outputs),
                    places: &places,
                    size: size_out,
                    // SAFETY: the task's first image and channel are in the output.
                    target: Shared(unsafe { target.at(task.image * image + task.channel * geometry.area_out()) }),
                };
                arch.dispatch(&mut tiles);
            });
        });
    };
    // SAFETY: the tasks are the whole output.
    Kernels::with(arch, geometry, weights, |kernels| unsafe {
        written(batch * outputs * geometry.area_out(), |target| fill(kernels, target))
    })
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
        let (line, column) = (run.target / columns, 2 * (run.target % columns));
        let row = 2 * (task.first + line % rows);
        Self {
            start: line / rows * image + row * width + column,
            rows: (height - row).min(2),
            pixels: (2 * (run.to - run.from)).min(width - column),
        }
    }
}

/// The tiles of a task, from the laid-out input to the output.
struct Tiles<'a> {
    inputs: usize,
    /// The input, its even and odd rows and columns apart.
    source: &'a [f32],
    /// Floats of a channel of it.
    plane: usize,
    /// How far the numbers of a tile are from its first.
    taps: &'a [[usize; SIDE]; SIDE],
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

impl WithSimd for &mut Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let spots = &self.spots.spots;
        // As even as may be: a vector alone takes as many kernels from memory as three.
        let groups = spots.len().div_ceil(VECTORS);
        for group in 0..groups {
            let spots = &spots[group * spots.len() / groups..(group + 1) * spots.len() / groups];
            // SAFETY: there is room for all that is written, and the window was laid out for all that the spots read.
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
    /// Every tap of every spot must be readable, there must be room for the frequencies, and the output of every run must
    /// be writable.
    #[inline(always)]
    unsafe fn group<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, spots: &[Spot]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.transform::<S, N>(simd, spots);
            for row in (0..self.rows[1]).step_by(M) {
                self.block::<S, M, N>(simd, row, spots);
            }
        }
    }

    /// The frequencies of all inputs at `N` spots.
    ///
    /// # Safety
    /// Every tap of every spot must be readable, and there must be room for the frequencies.
    #[inline(always)]
    unsafe fn transform<S: Simd, const N: usize>(&mut self, simd: S, spots: &[Spot]) {
        let apart = odd_lines(self.inputs * N * S::F32_LANES);
        // SAFETY: the caller's promise.
        unsafe {
            for input in 0..self.inputs {
                for j in 0..N {
                    let from = self.source.as_ptr().add(input * self.plane + spots.get_unchecked(j).source);
                    let mut tile = [[simd.splat_f32s(0.0); SIDE]; SIDE];
                    for y in 0..SIDE {
                        for x in 0..SIDE {
                            tile[y][x] = load::<S>(from.add(self.taps[y][x]));
                        }
                    }
                    let tile = both_ways(
                        tile,
                        #[inline(always)]
                        |line| of_input(simd, line),
                    );
                    let to = self.transformed.as_mut_ptr().add((input * N + j) * S::F32_LANES);
                    for y in 0..SIDE {
                        for x in 0..SIDE {
                            store::<S>(to.add((y * SIDE + x) * apart), tile[y][x]);
                        }
                    }
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
                let sums = sums_of_products::<S, M, N>(simd, sides, self.inputs);
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
                    let mut tile = [[simd.splat_f32s(0.0); SIDE]; SIDE];
                    for y in 0..SIDE {
                        for x in 0..SIDE {
                            tile[y][x] = load::<S>(from.add((y * SIDE + x) * M * N * S::F32_LANES));
                        }
                    }
                    let mut tile = both_ways(
                        tile,
                        #[inline(always)]
                        |line| to_output(simd, line),
                    );
                    for y in 0..2 {
                        for x in 0..2 {
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
    unsafe fn put<S: Simd>(&self, plane: *mut f32, spot: &Spot, tile: [[S::f32s; 2]; 2]) {
        let mut lines = [[0.0f32; 2 * MOST_LANES]; 2];
        for row in 0..2 {
            let mut columns = [[0.0f32; MOST_LANES]; 2];
            // SAFETY: no vector has more lanes.
            unsafe {
                store::<S>(columns[0].as_mut_ptr(), tile[row][0]);
                store::<S>(columns[1].as_mut_ptr(), tile[row][1]);
            }
            for lane in 0..S::F32_LANES {
                lines[row][2 * lane] = columns[0][lane];
                lines[row][2 * lane + 1] = columns[1][lane];
            }
        }
        for (run, place) in self.spots.runs(spot).iter().zip(&self.places[spot.runs.clone()]) {
            let Place { start, rows, pixels } = *place;
            for row in 0..rows {
                // SAFETY: the caller's promise.
                unsafe {
                    let (from, to) = (lines[row].as_ptr(), plane.add(start + row * self.size[1]));
                    if pixels == 2 * S::F32_LANES {
                        store::<S>(to, load::<S>(from));
                        store::<S>(to.add(S::F32_LANES), load::<S>(from.add(S::F32_LANES)));
                    } else {
                        std::ptr::copy_nonoverlapping(from.add(2 * run.from), to, pixels);
                    }
                }
            }
        }
    }
}
