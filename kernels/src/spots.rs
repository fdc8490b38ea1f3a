//! Where the vectors of a convolution stand: which pixels each covers in the laid-out input and in the output.

use std::ops::Range;

/// A vector of output pixels.
#[derive(Debug, Clone)]
pub struct Spot {
    /// Its first pixel in the laid-out input, under the first tap.
    pub source: usize,
    /// The lanes that are pixels, and where they go.
    pub runs: Range<usize>,
}

/// Lanes of a vector that are neighbours in a row of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first lane.
    pub from: usize,
    /// Behind the last lane.
    pub to: usize,
    /// The place of the first lane in the output plane.
    pub target: usize,
}

/// All vectors of a band of output rows.
#[derive(Debug, Clone)]
pub struct Spots {
    /// One for each vector.
    pub spots: Vec<Spot>,
    /// What they refer to.
    pub runs: Vec<Run>,
}

impl Spots {
    /// For `rows` rows of `columns` pixels that lie `pitch` apart in the input. Where rows fill vectors, each vector keeps
    /// to its row; elsewhere vectors go on over the ends of rows, and some lanes are no pixels.
    pub fn new([rows, columns]: [usize; 2], pitch: usize, lanes: usize) -> Self {
        let mut all = Self { spots: Vec::new(), runs: Vec::new() };
        if columns.is_multiple_of(lanes) {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).step_by(lanes).map(move |column| (row, column)))
            {
                all.runs.push(Run { from: 0, to: lanes, target: row * columns + column });
                all.spots.push(Spot { source: row * pitch + column, runs: all.runs.len() - 1..all.runs.len() });
            }
            return all;
        }
        let end = (rows - 1) * pitch + columns;
        for source in (0..end).step_by(lanes) {
            let first = all.runs.len();
            let mut place = source;
            while place < end.min(source + lanes) {
                let (row, column) = (place / pitch, place % pitch);
                let next = ((row + 1) * pitch).min(source + lanes);
                if column < columns {
                    let to = next.min(row * pitch + columns);
                    all.runs.push(Run { from: place - source, to: to - source, target: row * columns + column });
                }
                place = next;
            }
            all.spots.push(Spot { source, runs: first..all.runs.len() });
        }
        all
    }

    /// How many vectors [`new`](Self::new) makes.
    pub fn count([rows, columns]: [usize; 2], pitch: usize, lanes: usize) -> usize {
        if columns.is_multiple_of(lanes) {
            return rows * columns / lanes;
        }
        ((rows - 1) * pitch + columns).div_ceil(lanes)
    }

    /// The same for several planes, `source` apart in the input and `target` in the output.
    pub fn repeated(&self, planes: usize, source: usize, target: usize) -> Self {
        let (mut spots, mut runs) = (Vec::new(), Vec::new());
        for plane in 0..planes {
            let first = runs.len();
            runs.extend(self.runs.iter().map(|run| Run { target: run.target + plane * target, ..*run }));
            spots.extend(self.spots.iter().map(|spot| Spot {
                source: spot.source + plane * source,
                runs: spot.runs.start + first..spot.runs.end + first,
            }));
        }
        Self { spots, runs }
    }

    /// The runs of a spot.
    pub fn runs(&self, spot: &Spot) -> &[Run] {
        &self.runs[spot.runs.clone()]
    }

    /// Whether every lane of every vector is a pixel.
    pub fn are_whole(&self, lanes: usize) -> bool {
        self.runs.iter().all(|run| run.to - run.from == lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_stands_in_exactly_one_lane() {
        for (rows, columns, pitch, lanes) in
            [(3, 32, 33, 16), (5, 4, 5, 16), (2, 7, 9, 8), (1, 1, 2, 16), (4, 17, 18, 8)]
        {
            let spots = Spots::new([rows, columns], pitch, lanes);
            let mut seen = vec![0; rows * columns];
            for spot in &spots.spots {
                for run in spots.runs(spot) {
                    for lane in run.from..run.to {
                        let pixel = run.target + lane - run.from;
                        let place = spot.source + lane;
                        assert_eq!((place / pitch, place % pitch), (pixel / columns, pixel % columns));
                        seen[pixel] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
