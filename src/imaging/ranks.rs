//! Exact order statistics of any number of values in bounded memory: each pass over them settles 16 more bits.
//!
//! Values are compared by a key of which a larger one means a larger value: an integer itself, or the bits of a float
//! with the sign turned so that they sort. Only finite values have a place in the order.

use super::{BitDepth, Sample};

/// Bits that a pass settles.
const STEP: u32 = 16;

/// The orders that are looked for: two neighbours for each of four percentiles.
const MOST: usize = 8;

/// Two neighbouring order statistics and the place between them that a percentile asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    bounds: [Bound; 2],
    /// 0 is the lower, 1 the upper.
    between: f64,
}

/// A value looked for: those with the same `settled` highest bits in which it is number `place`, counted from 0.
#[derive(Debug, Clone, Copy)]
struct Bound {
    place: u64,
    prefix: u64,
    value: f64,
}

/// Counts of values by the next 16 bits of their keys.
pub(super) struct Ranks {
    held: BitDepth,
    settled: u32,
    /// The distinct prefixes that are counted, each with its counts.
    counted: Vec<(u64, Vec<u64>)>,
    total: u64,
    invalid: u64,
}

impl Ranks {
    /// For values of this kind, none counted.
    pub(super) fn new(held: BitDepth) -> Self {
        Self { held, settled: 0, counted: vec![(0, vec![0; 1 << STEP])], total: 0, invalid: 0 }
    }

    /// How many finite values the first pass saw.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many others.
    pub(super) fn invalid(&self) -> u64 {
        self.invalid
    }

    /// Counts values.
    pub(super) fn count<T: Sample>(&mut self, values: &[T]) {
        values.iter().for_each(|value| self.add((*value).into(), 1));
    }

    /// Counts a value some times.
    pub(super) fn add(&mut self, value: f64, times: u64) {
        let first = self.settled == 0;
        if !value.is_finite() {
            self.invalid += if first { times } else { 0 };
            return;
        }
        self.total += if first { times } else { 0 };
        let key = to_key(self.held, value);
        let prefix = key.checked_shr(u64::BITS - self.settled).unwrap_or(0);
        let next = (key << self.settled >> (u64::BITS - STEP)) as usize;
        if let Some((_, counts)) = self.counted.iter_mut().find(|(counted, _)| *counted == prefix) {
            counts[next] += times;
        }
    }

    /// What to look for to find a percentile: the value that `percent` % lie below, by a straight line between
    /// neighbours as NumPy has it.
    pub(super) fn wanted(&self, percent: f64) -> Wanted {
        let place = percent / 100.0 * (self.total - 1) as f64;
        let bound = |place: f64| Bound { place: place as u64, prefix: 0, value: 0.0 };
        Wanted { bounds: [bound(place.floor()), bound(place.ceil())], between: place.fract() }
    }

    /// Settles the next bits of what is looked for, and whether another pass must count more.
    pub(super) fn settle<const N: usize>(&mut self, wanted: &mut [Wanted; N]) -> bool {
        for bound in wanted.iter_mut().flat_map(|wanted| &mut wanted.bounds) {
            let counts = &self.counted.iter().find(|(prefix, _)| *prefix == bound.prefix).expect("it was counted").1;
            let mut next = 0;
            while bound.place >= counts[next] {
                bound.place -= counts[next];
                next += 1;
            }
            bound.prefix = bound.prefix << STEP | next as u64;
        }
        self.settled += STEP;
        let key_bits = key_bits(self.held);
        if self.settled < key_bits {
            let mut prefixes: Vec<u64> = wanted.iter().flat_map(|wanted| wanted.bounds.map(|b| b.prefix)).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            debug_assert!(prefixes.len() <= MOST);
            self.counted = prefixes.into_iter().map(|prefix| (prefix, vec![0; 1 << STEP])).collect();
            return true;
        }
        for bound in wanted.iter_mut().flat_map(|wanted| &mut wanted.bounds) {
            bound.value = from_key(self.held, bound.prefix);
        }
        false
    }
}

/// Percentiles of values that memory holds as `held`, at all of which `pass` looks, each with its count; it is called
/// several times. Nothing where there are no finite values.
pub fn percentiles<const N: usize, E>(
    held: BitDepth,
    percents: [f64; N],
    pass: impl Fn(&mut dyn FnMut(f64, u64)) -> Result<(), E>,
) -> Result<Option<[f64; N]>, E> {
    let mut ranks = Ranks::new(held);
    pass(&mut |value, count| ranks.add(value, count))?;
    if ranks.total() == 0 {
        return Ok(None);
    }
    let mut wanted = percents.map(|percent| ranks.wanted(percent));
    while ranks.settle(&mut wanted) {
        pass(&mut |value, count| ranks.add(value, count))?;
    }
    Ok(Some(wanted.map(|wanted| percentile(&wanted))))
}

/// The percentile, once nothing is left to settle.
pub(super) fn percentile(wanted: &Wanted) -> f64 {
    let [lower, upper] = wanted.bounds.map(|bound| bound.value);
    lower + (upper - lower) * wanted.between
}

fn key_bits(held: BitDepth) -> u32 {
    match held {
        BitDepth::Eight | BitDepth::Sixteen => 16,
        BitDepth::Float32 => 32,
        _ => 64,
    }
}

/// The key of a value, in the highest bits.
fn to_key(held: BitDepth, value: f64) -> u64 {
    match key_bits(held) {
        16 => (value as u64) << 48,
        32 => {
            let bits = (value as f32).to_bits();
            u64::from(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }) << 32
        }
        _ => {
            let bits = value.to_bits();
            if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
        }
    }
}

/// The value of a key, in the lowest bits.
fn from_key(held: BitDepth, key: u64) -> f64 {
    match key_bits(held) {
        16 => key as f64,
        32 => {
            let key = key as u32;
            f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key }).into()
        }
        _ => f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_values_do_and_give_them_back() {
        let values = [f64::MIN, -1e9, -2.5, -1e-300, 0.0, 1e-300, 0.5, 3.0, 1e30, f64::MAX];
        let keys = values.map(|value| to_key(BitDepth::Float64, value));
        assert!(keys.is_sorted());
        assert!(keys.iter().zip(values).all(|(key, value)| from_key(BitDepth::Float64, *key) == value));
        let floats = [-3e38f64, -0.25, 0.0, 0.25, 65_536.0];
        let keys = floats.map(|value| to_key(BitDepth::Float32, value));
        assert!(keys.is_sorted());
        let back = keys.map(|key| from_key(BitDepth::Float32, key >> 32) as f32);
        assert_eq!(back, floats.map(|value| value as f32));
    }

    #[test]
    fn order_statistics_are_those_of_the_sorted_values() {
        let mut values: Vec<f32> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) as i32 as f32) / 1e6).collect();
        let mut ranks = Ranks::new(BitDepth::Float32);
        ranks.count(&values);
        let mut wanted = [0.0, 12.5, 50.01, 100.0].map(|percent| ranks.wanted(percent));
        while ranks.settle(&mut wanted) {
            ranks.count(&values);
        }
        values.sort_by(f32::total_cmp);
        for (wanted, percent) in wanted.iter().zip([0.0, 12.5, 50.01, 100.0]) {
            let place: f64 = percent / 100.0 * 4999.0;
            let [lower, upper] = [place.floor(), place.ceil()].map(|place| f64::from(values[place as usize]));
            assert_eq!(percentile(wanted), lower + (upper - lower) * place.fract(), "{percent} %");
        }
    }
}
