//! Counts of stored values and the figures that follow from them.

/// How often each stored value occurs; all that follows from it is exact, in units of the stored values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    /// The histogram of no values.
    fn default() -> Self {
        Self { counts: vec![0; 1 << u16::BITS] }
    }
}

impl Histogram {
    /// Counts further values.
    pub fn add<T: Copy + Into<u16>>(&mut self, values: &[T]) {
        values.iter().for_each(|value| self.counts[usize::from(Into::<u16>::into(*value))] += 1);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each value that occurs with how often, from the least on.
    pub fn occurring(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(value, count)| (value as u16, *count))
    }

    /// The least and the largest value; nothing when there are none.
    pub fn range(&self) -> Option<(u16, u16)> {
        let occurs = |count: &u64| *count > 0;
        let (least, largest) = (self.counts.iter().position(occurs)?, self.counts.iter().rposition(occurs)?);
        Some((least as u16, largest as u16))
    }

    /// The mean; not a number when there are no values.
    pub fn mean(&self) -> f64 {
        self.moment(1) as f64 / self.count() as f64
    }

    /// The standard deviation of the values themselves (divided by their number, not one less).
    pub fn standard_deviation(&self) -> f64 {
        let (count, sum) = (u128::from(self.count()), self.moment(1));
        ((count * self.moment(2) - sum * sum) as f64).sqrt() / count as f64
    }

    /// The value that `percent` % of the values lie below, between neighbours by a straight line: order statistic
    /// number `percent / 100 (n - 1)`, counted from 0, as NumPy has it.
    ///
    /// # Panics
    /// When there are no values, or `percent` is not in [0, 100].
    pub fn percentile(&self, percent: f64) -> f64 {
        assert!((0.0..=100.0).contains(&percent), "{percent} is no percentage");
        let count = self.count();
        assert!(count > 0, "no values have no percentiles");
        let place = percent / 100.0 * (count - 1) as f64;
        let (lower, upper) = (self.ranked(place.floor() as u64), self.ranked(place.ceil() as u64));
        lower + (upper - lower) * place.fract()
    }

    /// The sum of the values to a power; whole numbers, so no digit is lost.
    fn moment(&self, power: u32) -> u128 {
        self.counts.iter().enumerate().map(|(value, count)| (value as u128).pow(power) * u128::from(*count)).sum()
    }

    /// The value at a place, counted from 0, of all values in order.
    fn ranked(&self, place: u64) -> f64 {
        let mut before = 0;
        let reaches = |count: &u64| {
            before += count;
            before > place
        };
        self.counts.iter().position(reaches).expect("the place is less than the count") as f64
    }
}
