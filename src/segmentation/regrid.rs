//! Rows of logits at the model's resolution to rows at the image's own, linearly interpolated, as they come.

use std::collections::VecDeque;

/// Interpolates between the centres of pixels; beyond the outermost centres it repeats them.
#[derive(Debug)]
pub struct Regrid {
    from: [usize; 2],
    to: [usize; 2],
    channels: usize,
    /// Rows that later ones still need; the first is row `first`.
    rows: VecDeque<Vec<f32>>,
    first: usize,
    /// Next row to give out.
    next: usize,
    /// For each column of the result: left neighbour, right neighbour, weight of the right.
    columns: Vec<(usize, usize, f32)>,
}

impl Regrid {
    /// From a grid of `from` rows and columns to one of `to`, with `channels` values for each pixel.
    pub fn new(from: [usize; 2], to: [usize; 2], channels: usize) -> Self {
        let columns = (0..to[1]).map(|x| neighbours(x, from[1], to[1])).collect();
        Self { from, to, channels, rows: VecDeque::new(), first: 0, next: 0, columns }
    }

    /// Takes the next row, `[channels, from width]`, and gives out the rows that are now known, `[channels, to width]`.
    pub fn push(&mut self, row: &[f32]) -> Vec<Vec<f32>> {
        self.rows.push_back(self.stretch(row));
        let known = self.first + self.rows.len();
        let mut finished = Vec::new();
        while self.next < self.to[0] {
            let (above, below, weight) = neighbours(self.next, self.from[0], self.to[0]);
            if below >= known {
                break;
            }
            while self.first < above {
                self.rows.pop_front();
                self.first += 1;
            }
            let (above, below) = (&self.rows[above - self.first], &self.rows[below - self.first]);
            finished.push(if weight == 0.0 {
                above.clone()
            } else {
                above.iter().zip(below).map(|(a, b)| a + weight * (b - a)).collect()
            });
            self.next += 1;
        }
        finished
    }

    fn stretch(&self, row: &[f32]) -> Vec<f32> {
        if self.from[1] == self.to[1] {
            return row.to_vec();
        }
        let stretched = row.chunks_exact(self.from[1]).take(self.channels).flat_map(|row| {
            self.columns.iter().map(|&(left, right, weight)| row[left] + weight * (row[right] - row[left]))
        });
        stretched.collect()
    }
}

/// The pixels of `from` on both sides of the centre of pixel `place` of `to`, and the weight of the second.
fn neighbours(place: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let position = ((place as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
    let low = position.floor() as usize;
    (low, (low + 1).min(from - 1), (position - low as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regrid(from: [usize; 2], to: [usize; 2], value: impl Fn(usize, usize) -> f32) -> Vec<Vec<f32>> {
        let mut regrid = Regrid::new(from, to, 1);
        let rows = (0..from[0]).flat_map(|y| regrid.push(&(0..from[1]).map(|x| value(y, x)).collect::<Vec<_>>()));
        rows.collect()
    }

    #[test]
    fn the_same_grid_gives_the_same_numbers() {
        let rows = regrid([3, 2], [3, 2], |y, x| (2 * y + x) as f32);
        assert_eq!(rows, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
    }

    #[test]
    fn a_doubled_ramp_has_quarters_between() {
        let rows = regrid([2, 2], [4, 4], |y, _| y as f32);
        assert_eq!(rows.concat(), [[0.0; 4], [0.25; 4], [0.75; 4], [1.0; 4]].concat());
        let rows = regrid([2, 2], [2, 4], |_, x| x as f32);
        assert_eq!(rows[0], [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn all_rows_come_out_at_any_ratio() {
        for (from, to) in [(1, 5), (5, 1), (7, 3), (3, 7), (10, 10), (4, 9)] {
            let rows = regrid([from, 2], [to, 3], |_, _| 2.5);
            assert_eq!(rows, vec![vec![2.5; 3]; to]);
        }
    }

    #[test]
    fn channels_are_kept_apart() {
        let mut regrid = Regrid::new([1, 2], [1, 4], 2);
        assert_eq!(regrid.push(&[0.0, 1.0, 10.0, 20.0]), [[0.0, 0.25, 0.75, 1.0, 10.0, 12.5, 17.5, 20.0]]);
    }
}
