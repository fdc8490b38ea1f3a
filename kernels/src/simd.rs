//! Vectors of whatever width this processor has, and memory shared between threads.
//!
//! A kernel is written once over [`pulp::Simd`] and compiled for AVX-512, AVX2 with FMA, NEON and plain scalars; which
//! one runs is decided at run time.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};

/// The best instructions of this processor.
pub fn best() -> Arch {
    Arch::new()
}

/// Whether this processor has vectors; without, Burn's own operations are as good.
pub fn has_vectors() -> bool {
    !matches!(best(), Arch::Scalar)
}

/// Lanes of the vectors of these instructions.
pub fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// Does work whose loops the compiler makes into vectors of these instructions. The closure must be marked
/// `#[inline(always)]`.
///
/// It is called by reference: called by value, the compiler puts a function without these instructions in between.
#[inline(always)]
pub fn vectorised<R>(arch: Arch, work: impl FnMut() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Work<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    arch.dispatch(Work(work))
}

/// Reads a vector from any address.
///
/// # Safety
/// `S::F32_LANES` values must be readable at `from`.
#[inline(always)]
pub unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller vouches for the memory; a vector is plain data of that many floats, and no alignment is asked.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// Writes a vector to any address.
///
/// # Safety
/// `S::F32_LANES` values must be writable at `to`.
#[inline(always)]
pub unsafe fn store<S: Simd>(to: *mut f32, values: S::f32s) {
    // SAFETY: as in `load`.
    unsafe { to.cast::<S::f32s>().write_unaligned(values) }
}

/// A vector of values, filled up with zeros where they are fewer.
#[inline(always)]
pub fn load_some<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    if values.len() >= S::F32_LANES {
        // SAFETY: they are as many.
        return unsafe { load::<S>(values.as_ptr()) };
    }
    let mut all = [0.0; MOST_LANES];
    all[..values.len()].copy_from_slice(values);
    let [all] = vectors_of(simd, [all]);
    all
}

/// Writes the first values of a vector, as many as there is room for.
#[inline(always)]
pub fn store_some<S: Simd>(room: &mut [f32], vector: S::f32s) {
    if room.len() >= S::F32_LANES {
        // SAFETY: there is as much room.
        return unsafe { store::<S>(room.as_mut_ptr(), vector) };
    }
    let [values] = lanes_of::<S, 1>([vector]);
    room.copy_from_slice(&values[..room.len()]);
}

/// The start of memory that threads write to at different places.
#[derive(Clone, Copy)]
pub struct Shared<T = f32>(pub *mut T);

// SAFETY: a bare address; whoever writes through it sees to it that no two threads touch the same place.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The address `by` values further on.
    ///
    /// # Safety
    /// It must lie in the same allocation.
    #[inline(always)]
    pub unsafe fn at(&self, by: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(by) }
    }
}

/// Values that `fill` writes, every one of them.
///
/// # Safety
/// `fill` must write all `length` values.
pub unsafe fn written(length: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity was asked for, and the caller vouches that all is written. To zero it first would send it
    // through memory once more.
    unsafe { values.set_len(length) };
    values
}

/// Has a line brought near that is about to be written.
#[inline(always)]
pub fn prefetch_to_write(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // The compiler's own hint brings the line as one to read.
    // SAFETY: a hint, which reads nothing and cannot fail, whatever the address; processors without it do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
    }
}

/// Has a line brought near that is about to be read.
#[inline(always)]
pub fn prefetch_to_read(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing and cannot fail, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
}

/// Sums that are added up side by side: enough to hide the latency of an addition.
const SUMS: usize = 64;

/// The sum of a function of the values of several lists of one length. To be called from [`vectorised`].
#[inline(always)]
pub fn sum_by<const N: usize>(lists: [&[f32]; N], of: impl Fn([f32; N]) -> f32) -> f32 {
    let mut sums = [0.0f32; SUMS];
    let mut parts: [(&[[f32; SUMS]], &[f32]); N] = [(&[], &[]); N];
    for n in 0..N {
        parts[n] = lists[n].as_chunks();
    }
    for i in 0..parts[0].1.len() {
        let mut values = [0.0; N];
        for n in 0..N {
            values[n] = parts[n].1[i];
        }
        sums[i] += of(values);
    }
    for chunk in 0..parts[0].0.len() {
        let mut chunks = [&[0.0; SUMS]; N];
        for n in 0..N {
            chunks[n] = &parts[n].0[chunk];
        }
        for i in 0..SUMS {
            let mut values = [0.0; N];
            for n in 0..N {
                values[n] = chunks[n][i];
            }
            sums[i] += of(values);
        }
    }
    let mut sum = 0.0;
    for value in sums {
        sum += value;
    }
    sum
}

/// Pairs that are parted together: as many as a short row has.
const PAIRS: usize = 8;

/// Puts the firsts and the seconds of pairs in a row each. To be called from [`vectorised`].
#[inline(always)]
pub fn part(pairs: &[[f32; 2]], firsts: &mut [f32], seconds: &mut [f32]) {
    let ((pairs, last_pairs), (firsts, last_firsts)) = (pairs.as_chunks::<PAIRS>(), firsts.as_chunks_mut::<PAIRS>());
    let (seconds, last_seconds) = seconds.as_chunks_mut::<PAIRS>();
    for ((pairs, firsts), seconds) in pairs.iter().zip(firsts).zip(seconds) {
        // As halves of integers: with these the compiler uses vectors, floats it would take one by one.
        // SAFETY: any bits are integers.
        let pairs: [u64; PAIRS] = unsafe { std::mem::transmute(*pairs) };
        let (low, high) = if cfg!(target_endian = "little") { (firsts, seconds) } else { (seconds, firsts) };
        for i in 0..PAIRS {
            low[i] = f32::from_bits(pairs[i] as u32);
        }
        for i in 0..PAIRS {
            high[i] = f32::from_bits((pairs[i] >> 32) as u32);
        }
    }
    for ((pair, first), second) in last_pairs.iter().zip(last_firsts).zip(last_seconds) {
        [*first, *second] = *pair;
    }
}

/// Columns from rows. By the processor's own instructions: the compiler takes the numbers one by one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn transposed(rows: [&[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    let mut columns = [[0.0; 4]; 4];
    // SAFETY: every x86-64 processor has these instructions; all rows and columns have four numbers.
    unsafe {
        let [mut a, mut b] = [_mm_loadu_ps(rows[0].as_ptr()), _mm_loadu_ps(rows[1].as_ptr())];
        let [mut c, mut d] = [_mm_loadu_ps(rows[2].as_ptr()), _mm_loadu_ps(rows[3].as_ptr())];
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        _mm_storeu_ps(columns[0].as_mut_ptr(), a);
        _mm_storeu_ps(columns[1].as_mut_ptr(), b);
        _mm_storeu_ps(columns[2].as_mut_ptr(), c);
        _mm_storeu_ps(columns[3].as_mut_ptr(), d);
    }
    columns
}

/// Columns from rows.
#[cfg(not(target_arch = "x86_64"))]
pub fn transposed(rows: [&[f32; 4]; 4]) -> [[f32; 4]; 4] {
    [0, 1, 2, 3].map(|x| rows.map(|row| row[x]))
}

/// The same of twice as many rows, with these instructions.
#[inline(always)]
pub fn transposed_eight<S: Simd>(rows: &[[f32; 4]; 8]) -> [[f32; 8]; 4] {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        use std::arch::x86_64::{_mm512_loadu_ps, _mm512_permutex2var_ps, _mm512_setr_epi32};
        // SAFETY: vectors of 16 floats are those of AVX-512; each of the two takes half of the rows, and has the size of two
        // columns.
        unsafe {
            let first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
            let last = _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
            let [low, high] = [_mm512_loadu_ps(rows[0].as_ptr()), _mm512_loadu_ps(rows[4].as_ptr())];
            return std::mem::transmute::<[std::arch::x86_64::__m512; 2], [[f32; 8]; 4]>([
                _mm512_permutex2var_ps(low, first, high),
                _mm512_permutex2var_ps(low, last, high),
            ]);
        }
    }
    let mut columns = [[0.0; 8]; 4];
    for half in 0..2 {
        let rows = &rows[4 * half..];
        let of_half = transposed([&rows[0], &rows[1], &rows[2], &rows[3]]);
        for column in 0..4 {
            columns[column][4 * half..][..4].copy_from_slice(&of_half[column]);
        }
    }
    columns
}

/// Writes the values of four vectors by turns: all first ones, all second ones, and so on.
///
/// # Safety
/// Four vectors of values must be writable at `to`.
#[inline(always)]
pub unsafe fn store_by_turns<S: Simd>(to: *mut f32, vectors: [S::f32s; 4]) {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        use std::arch::x86_64::{
            __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_permutex2var_pd, _mm512_permutex2var_ps,
            _mm512_setr_epi32, _mm512_setr_epi64, _mm512_storeu_ps,
        };
        // SAFETY: vectors of 16 floats are those of AVX-512; the caller vouches for the memory.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            let low_pairs = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high_pairs = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
            let [a, b, c, d] = std::mem::transmute_copy::<[S::f32s; 4], [__m512; 4]>(&vectors);
            for (half, index) in [low, high].into_iter().enumerate() {
                let first = _mm512_castps_pd(_mm512_permutex2var_ps(a, index, b));
                let last = _mm512_castps_pd(_mm512_permutex2var_ps(c, index, d));
                for (quarter, index) in [low_pairs, high_pairs].into_iter().enumerate() {
                    let values = _mm512_castpd_ps(_mm512_permutex2var_pd(first, index, last));
                    _mm512_storeu_ps(to.add((2 * half + quarter) * 16), values);
                }
            }
        }
        return;
    }
    let columns = lanes_of::<S, 4>(vectors);
    for four in 0..S::F32_LANES.div_ceil(4) {
        let mut fours = [&[0.0; 4]; 4];
        for column in 0..4 {
            fours[column] = &columns[column].as_chunks().0[four];
        }
        let rows = transposed(fours);
        let count = 4 * (S::F32_LANES - 4 * four).min(4);
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(rows.as_ptr().cast(), to.add(16 * four), count) };
    }
}

/// Places in vectors that [`picked`] takes: from the first on, `run` of them `step` apart, then as many that begin `next` behind where
/// these began, and so on.
const fn places(first: usize, run: usize, step: usize, next: usize) -> [u32; MOST_LANES] {
    let mut places = [0; MOST_LANES];
    let mut lane = 0;
    while lane < MOST_LANES {
        places[lane] = (first + lane % run * step + lane / run * next) as u32;
        lane += 1;
    }
    places
}

/// The values of two vectors by turns.
#[inline(always)]
pub fn by_turns<S: Simd>(simd: S, vectors: [S::f32s; 2]) -> [S::f32s; 2] {
    if S::F32_LANES == 1 {
        return vectors;
    }
    [
        picked(simd, vectors, &const { places(0, 2, S::F32_LANES, 1) }),
        picked(simd, vectors, &const { places(S::F32_LANES / 2, 2, S::F32_LANES, 1) }),
    ]
}

/// The first, third and so on of the values of two vectors.
#[inline(always)]
pub fn evens<S: Simd>(simd: S, vectors: [S::f32s; 2]) -> S::f32s {
    picked(simd, vectors, &const { places(0, MOST_LANES, 2, 0) })
}

/// The first, second, third and last values of the fours in four vectors: back from [`store_by_turns`].
#[inline(always)]
pub fn every_fourth<S: Simd>(simd: S, vectors: [S::f32s; 4]) -> [S::f32s; 4] {
    if S::F32_LANES == 1 {
        return vectors;
    }
    let [a, b, c, d] = vectors;
    // Of each two vectors half a vector of the first and one of the second values, and one of the third and one of the last.
    let first = &const { places(0, S::F32_LANES.div_ceil(2), 4, 1) };
    let last = &const { places(2, S::F32_LANES.div_ceil(2), 4, 1) };
    let firsts = [picked(simd, [a, b], first), picked(simd, [c, d], first)];
    let lasts = [picked(simd, [a, b], last), picked(simd, [c, d], last)];
    let low = &const { places(0, S::F32_LANES.div_ceil(2), 1, S::F32_LANES) };
    let high = &const { places(S::F32_LANES / 2, S::F32_LANES.div_ceil(2), 1, S::F32_LANES) };
    [picked(simd, firsts, low), picked(simd, firsts, high), picked(simd, lasts, low), picked(simd, lasts, high)]
}

/// The values of two vectors at these places; those of the second are counted on from those of the first.
#[inline(always)]
pub fn picked<S: Simd>(simd: S, vectors: [S::f32s; 2], places: &[u32; MOST_LANES]) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        use std::arch::x86_64::{__m512, _mm512_loadu_epi32, _mm512_permutex2var_ps};
        // SAFETY: vectors of 16 floats are those of AVX-512.
        unsafe {
            let [a, b] = std::mem::transmute_copy::<[S::f32s; 2], [__m512; 2]>(&vectors);
            let places = _mm512_loadu_epi32(places.as_ptr().cast());
            return std::mem::transmute_copy::<__m512, S::f32s>(&_mm512_permutex2var_ps(a, places, b));
        }
    }
    let values = lanes_of::<S, 2>(vectors);
    let mut chosen = [[0.0; MOST_LANES]];
    for i in 0..S::F32_LANES {
        let place = places[i] as usize;
        chosen[0][i] = values[place / S::F32_LANES % 2][place % S::F32_LANES];
    }
    let [chosen] = vectors_of(simd, chosen);
    chosen
}

/// The values so many floats behind an address, one for each lane.
///
/// # Safety
/// They must be readable.
#[inline(always)]
pub unsafe fn gathered<S: Simd>(simd: S, from: *const f32, places: &[i32; MOST_LANES]) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        use std::arch::x86_64::{__m512, _mm512_i32gather_ps, _mm512_loadu_epi32};
        // SAFETY: vectors of 16 floats are those of AVX-512; the caller vouches for the memory.
        unsafe {
            let places = _mm512_loadu_epi32(places.as_ptr());
            return std::mem::transmute_copy::<__m512, S::f32s>(&_mm512_i32gather_ps::<4>(places, from));
        }
    }
    let mut values = [[0.0; MOST_LANES]];
    for i in 0..S::F32_LANES {
        // SAFETY: the caller's promise.
        values[0][i] = unsafe { *from.offset(places[i] as isize) };
    }
    let [values] = vectors_of(simd, values);
    values
}

/// A value, and zeros behind it.
#[inline(always)]
pub fn alone<S: Simd>(simd: S, value: f32) -> S::f32s {
    let mut values = [0.0; MOST_LANES];
    values[0] = value;
    let [values] = vectors_of(simd, [values]);
    values
}

/// The values of vectors.
#[inline(always)]
fn lanes_of<S: Simd, const N: usize>(vectors: [S::f32s; N]) -> [[f32; MOST_LANES]; N] {
    let mut values = [[0.0f32; MOST_LANES]; N];
    for n in 0..N {
        // SAFETY: no vector has more lanes.
        unsafe { store::<S>(values[n].as_mut_ptr(), vectors[n]) };
    }
    values
}

/// Vectors of values.
#[inline(always)]
fn vectors_of<S: Simd, const N: usize>(simd: S, values: [[f32; MOST_LANES]; N]) -> [S::f32s; N] {
    let mut vectors = [simd.splat_f32s(0.0); N];
    for n in 0..N {
        // SAFETY: no vector has more lanes.
        vectors[n] = unsafe { load::<S>(values[n].as_ptr()) };
    }
    vectors
}

/// The most lanes of a vector.
pub const MOST_LANES: usize = 16;

/// Floats of a line of the caches.
pub const LINE: usize = 16;

/// At least so many floats, an odd number of lines of the caches: what lies a power of two apart shares the places of the caches,
/// of which there are few for each.
pub fn odd_lines(length: usize) -> usize {
    (length.div_ceil(LINE) | 1) * LINE
}

/// Working memory of this thread, `length` values of any content from the start of a line of the caches on; kept from call
/// to call, since fresh pages cost more than what is done with them.
pub fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        // One for each level of work within work.
        static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < length + LINE {
        scratch.resize(length + LINE, 0.0);
    }
    let start = scratch.as_ptr().align_offset(LINE * size_of::<f32>());
    let result = work(&mut scratch[start..start + length]);
    SCRATCH.with_borrow_mut(|all| all.push(scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::super::tests::other_instructions;
    use super::*;

    /// What is turned, in eight rows of four; what comes of four vectors by turns, and of these again by fours; values picked from
    /// two of them, one alone, and others gathered; with their lanes.
    struct Turned;

    impl WithSimd for Turned {
        type Output = ([[f32; 8]; 4], Vec<f32>, Vec<f32>, [Vec<f32>; 3], usize);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let rows = std::array::from_fn(|row| std::array::from_fn(|column| (10 * row + column) as f32));
            let mut vectors = [simd.splat_f32s(0.0); 4];
            for i in 0..4 {
                let values: [f32; MOST_LANES] = std::array::from_fn(|lane| (10 * lane + i) as f32);
                // SAFETY: no vector has more lanes.
                vectors[i] = unsafe { load::<S>(values.as_ptr()) };
            }
            let mut by_turns = vec![-1.0; 4 * S::F32_LANES];
            // SAFETY: there is room for four vectors.
            unsafe { store_by_turns::<S>(by_turns.as_mut_ptr(), vectors) };
            let mut turned = [simd.splat_f32s(0.0); 4];
            for i in 0..4 {
                // SAFETY: as many have just been written.
                turned[i] = unsafe { load::<S>(by_turns.as_ptr().add(i * S::F32_LANES)) };
            }
            let turned = lanes_of::<S, 4>(every_fourth(simd, turned)).map(|values| values[..S::F32_LANES].to_vec());
            // Backwards: the first of the second vector, the last of the first one, and so on.
            let places = std::array::from_fn(|lane| (S::F32_LANES - lane.min(S::F32_LANES)) as u32);
            let back = std::array::from_fn(|lane| -(lane as i32));
            // SAFETY: there are as many values before this one.
            let gathered = unsafe { gathered(simd, &by_turns[S::F32_LANES], &back) };
            let others = [picked(simd, [vectors[1], vectors[2]], &places), alone(simd, 7.0), gathered];
            let others = lanes_of::<S, 3>(others).map(|values| values[..S::F32_LANES].to_vec());
            (transposed_eight::<S>(&rows), by_turns, turned.concat(), others, S::F32_LANES)
        }
    }

    #[test]
    fn rows_become_columns_and_vectors_follow_by_turns() {
        for arch in other_instructions().into_iter().chain([best()]) {
            let (columns, by_turns, turned, [picked, alone, gathered], lanes) = arch.dispatch(Turned);
            assert_eq!(columns[0], [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
            assert_eq!(columns[3], [3.0, 13.0, 23.0, 33.0, 43.0, 53.0, 63.0, 73.0]);
            let expected = (0..lanes).flat_map(|lane| (0..4).map(move |i| (10 * lane + i) as f32));
            assert_eq!(by_turns, expected.collect::<Vec<_>>());
            assert!(by_turns[1..=lanes].iter().rev().eq(&gathered));
            let expected = (0..4).flat_map(|i| (0..lanes).map(move |lane| (10 * lane + i) as f32));
            assert_eq!(turned, expected.collect::<Vec<_>>());
            let expected = (1..lanes).rev().map(|lane| (10 * lane + 1) as f32);
            assert_eq!(picked, [2.0].into_iter().chain(expected).collect::<Vec<_>>());
            assert_eq!((alone[0], alone[1..].iter().all(|value| *value == 0.0)), (7.0, true));
        }
    }
}
