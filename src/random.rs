//! Random numbers that depend on nothing but a seed and a place.
//!
//! A [`Stream`] is a key; numbers are hashes of (key, counter), so there is no state to save: a run that resumes at
//! step k derives the streams of step k and draws what an uninterrupted run would have drawn. For images,
//! [`Stream::normal_at`] gives the noise of a pixel from its position alone: tiles that overlap see the same noise.

/// A reproducible source of random numbers, independent of every stream with another key.
#[derive(Debug, Clone)]
pub struct Stream {
    key: u64,
    counter: u64,
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection whose every output bit depends on every input bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The increment of SplitMix64, 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// 53 random bits to the open interval (0, 1), never 0: its logarithm is finite.
fn to_unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Box–Muller: two independent uniforms to one standard normal.
fn to_normal(first: u64, second: u64) -> f32 {
    let radius = (-2.0 * to_unit(first).ln()).sqrt();
    (radius * (std::f64::consts::TAU * to_unit(second)).cos()) as f32
}

impl Stream {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed.wrapping_add(GOLDEN)), counter: 0 }
    }

    /// The stream with this name or number below this one, whatever was drawn from this one before.
    pub fn child(&self, tag: impl Tag) -> Self {
        Self { key: mix(self.key ^ mix(tag.to_u64().wrapping_add(GOLDEN)).rotate_left(17)), counter: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.counter += 1;
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        to_unit(self.bits())
    }

    /// Uniform in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..n` (`n` > 0). The bias of the multiplication is below 2^-32 for any n that an image has.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }

    /// True or false, evenly.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        let first = self.bits();
        to_normal(first, self.bits())
    }

    /// `n` standard normals.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// The standard normal that belongs to a pixel: depends on the key and the position, not on what was drawn before.
    pub fn normal_at(&self, y: usize, x: usize) -> f32 {
        let place = mix(self.key ^ mix((y as u64).wrapping_mul(GOLDEN) ^ (x as u64).rotate_left(32)));
        to_normal(mix(place.wrapping_add(GOLDEN)), mix(place.wrapping_add(GOLDEN.wrapping_mul(2))))
    }

    /// The numbers `0..n` in random order (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// What can name a child of a [`Stream`].
pub trait Tag {
    /// The name as a number.
    fn to_u64(&self) -> u64;
}

impl Tag for u64 {
    fn to_u64(&self) -> u64 {
        *self
    }
}

impl Tag for &str {
    /// FNV-1a, set apart from plain numbers by its offset basis.
    fn to_u64(&self) -> u64 {
        self.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_mean_zero_variance_one_and_no_correlation_between_neighbours() {
        let stream = Stream::new(7).child("field");
        let side = 256;
        let field: Vec<f64> = (0..side * side).map(|i| stream.normal_at(i / side, i % side) as f64).collect();
        let n = field.len() as f64;
        let mean = field.iter().sum::<f64>() / n;
        let variance = field.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let right = field.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
        let below = field.iter().zip(&field[side..]).map(|(a, b)| a * b).sum::<f64>() / n;
        // Five standard errors of each estimate.
        assert!(mean.abs() < 5.0 / n.sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{variance}");
        assert!(right.abs() < 5.0 / n.sqrt() && below.abs() < 5.0 / n.sqrt(), "{right} {below}");
    }

    #[test]
    fn a_child_does_not_depend_on_what_its_parent_drew() {
        let mut parent = Stream::new(1);
        let before = parent.child("a").bits();
        parent.bits();
        assert_eq!(parent.child("a").bits(), before);
        assert_ne!(parent.child("b").bits(), before);
        assert_ne!(Stream::new(2).child("a").bits(), before);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Stream::new(3).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
