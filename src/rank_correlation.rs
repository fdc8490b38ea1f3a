//! Whether one figure orders things as another does.

use crate::random::Stream;
use serde::{Deserialize, Serialize};

/// Fewest pairs that have a correlation.
const LEAST_PAIRS: usize = 3;
/// Most pairs of which all orders are tried: 8! = 40320 of them.
const MOST_EXACT: usize = 8;
/// Random orders that are tried for more pairs.
const ORDERS: u64 = 10_000;

/// Spearman's rank correlation and how likely it is by chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankCorrelation {
    /// Spearman's rho, in [-1, 1]: 1 when both figures give the same order, -1 when they give opposite ones.
    pub rho: f64,
    /// One-sided: the probability of a rho at least as large when one figure says nothing of the other.
    pub p: f64,
    /// Number of pairs.
    pub n: usize,
}

/// Spearman's rho (Spearman 1904, Am. J. Psychol. 15): the correlation of the ranks, in which equal values share the
/// middle of their ranks. None for fewer than three pairs, when a side is constant, and when a value is not a number.
///
/// # Panics
/// When the sides differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let [x, y] = ranked(x, y)?;
    Some(rho(&x, &y))
}

/// Spearman's rho with a permutation test: `p` is the share of all orders of `y` that have a rho at least as large. For
/// more than eight pairs it is estimated from 10 000 random orders, the same at each call, together with the order at
/// hand, so that it is never 0 (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39). None where [`spearman`] is.
///
/// # Panics
/// When the sides differ in length.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> Option<RankCorrelation> {
    let [x, y] = ranked(x, y)?;
    let n = x.len();
    let p = if n <= MOST_EXACT { exact_p(&x, &y) } else { estimated_p(&x, &y) };
    Some(RankCorrelation { rho: rho(&x, &y), p, n })
}

fn exact_p(x: &[i64], y: &[i64]) -> f64 {
    let orders: usize = (1..=y.len()).product();
    let is_as_large = |order: &usize| {
        // The digits of a number below n! in the factorial number system: each number gives an order of its own.
        let mut rest = *order;
        let shuffled = shuffled(y, |choices| {
            let digit = rest % choices;
            rest /= choices;
            digit
        });
        product(x, &shuffled) >= product(x, y)
    };
    (0..orders).filter(is_as_large).count() as f64 / orders as f64
}

fn estimated_p(x: &[i64], y: &[i64]) -> f64 {
    let mut random = Stream::new(0);
    let mut is_as_large = || product(x, &shuffled(y, |choices| random.below(choices))) >= product(x, y);
    let as_large = (0..ORDERS).filter(|_| is_as_large()).count();
    (as_large + 1) as f64 / (ORDERS + 1) as f64
}

/// The values in the order that `choose` makes by an index below each number from n down to 2 (Fisher–Yates).
fn shuffled(values: &[i64], mut choose: impl FnMut(usize) -> usize) -> Vec<i64> {
    let mut values = values.to_vec();
    for last in (1..values.len()).rev() {
        values.swap(last, choose(last + 1));
    }
    values
}

/// The ranks of both sides, or None where they have no correlation.
fn ranked(x: &[f64], y: &[f64]) -> Option<[Vec<i64>; 2]> {
    assert_eq!(x.len(), y.len(), "a rank correlation needs pairs");
    if x.len() < LEAST_PAIRS || x.iter().chain(y).any(|value| value.is_nan()) {
        return None;
    }
    let ranks = [x, y].map(ranks);
    ranks.iter().all(|ranks| ranks.iter().any(|rank| *rank != 0)).then_some(ranks)
}

/// Twice the distance of each value's rank from the middle rank: whole numbers of sum 0, so that permuted sums of
/// products compare exactly. Equal values share the middle of their ranks.
fn ranks(values: &[f64]) -> Vec<i64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    let mut ranks = vec![0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|i, j| values[*i] == values[*j]) {
        for i in equal {
            ranks[*i] = (2 * below + equal.len()) as i64 - values.len() as i64;
        }
        below += equal.len();
    }
    ranks
}

fn rho(x: &[i64], y: &[i64]) -> f64 {
    product(x, y) as f64 / (product(x, x) as f64 * product(y, y) as f64).sqrt()
}

fn product(x: &[i64], y: &[i64]) -> i64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rho_of_cases_worked_by_hand() {
        // Rank differences 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
        assert!((spearman(&[1.0, 20.0, 300.0, 301.0], &[0.1, 0.3, 0.2, 0.9]).unwrap() - 0.8).abs() < 1e-12);
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
        let tied = spearman(&[0.0, 5.0, 5.0, 7.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 0.9f64.sqrt()).abs() < 1e-12, "{tied}");
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), [3, 0, 3, -3, -3]);
    }

    #[test]
    fn equal_orders_have_rho_one_and_opposite_ones_minus_one_whatever_the_values() {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let [up, down] = [1.0, -1.0].map(|sign| x.iter().map(|x| sign * x.exp()).collect::<Vec<_>>());
        assert_eq!((spearman(&x, &up), spearman(&x, &down)), (Some(1.0), Some(-1.0)));
    }

    #[test]
    fn the_chance_of_few_pairs_is_exact() {
        let p = |x: &[f64], y: &[f64]| rank_correlation(x, y).unwrap().p;
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(p(&x, &[1.0, 2.0, 3.0, 4.0]), 1.0 / 24.0);
        // Only the same order and the three that swap two neighbours have a rho of 0.8 or more.
        assert_eq!(p(&x, &[1.0, 3.0, 2.0, 4.0]), 4.0 / 24.0);
        assert_eq!(p(&x, &[4.0, 3.0, 2.0, 1.0]), 1.0);
        // Two orders of the tied pair are the same.
        assert_eq!(p(&[1.0, 2.0, 3.0], &[1.0, 1.0, 2.0]), 2.0 / 6.0);
    }

    #[test]
    fn the_chance_of_many_pairs_is_estimated_and_never_zero() {
        let x: Vec<f64> = (0..9).map(f64::from).collect();
        let by = |y: [f64; 9]| rank_correlation(&x, &y).unwrap();
        let same = by([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!((same.rho, same.n), (1.0, 9));
        assert!(same.p > 0.0 && same.p < 0.001, "{}", same.p);
        // Of the 9! orders, 47.4 % have a rho of at least this 1/30.
        let unrelated = by([4.0, 8.0, 0.0, 3.0, 5.0, 2.0, 6.0, 1.0, 7.0]);
        assert_eq!(unrelated, by([4.0, 8.0, 0.0, 3.0, 5.0, 2.0, 6.0, 1.0, 7.0]), "reproducible");
        assert!((unrelated.p - 0.474).abs() < 0.02, "{unrelated:?}");
    }

    #[test]
    fn too_few_pairs_constant_sides_and_values_that_are_not_numbers_have_no_correlation() {
        assert_eq!(rank_correlation(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, f64::NAN, 2.0]), None);
    }
}
