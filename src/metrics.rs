//! How near an image is to another of the same place (L1, PSNR, SSIM), and a segmentation to another (Dice, IoU).
//!
//! All are computed in `f64`, one image at a time; [`Summary`] gathers images or folds. Scores of the paper
//! (Boschet et al. 2024, arXiv 2412.02858) use the same definitions. For images that do not show the same place,
//! see the module `set_distance`.

use serde::{Deserialize, Serialize};

use crate::imaging::{LabelMap, Plane};

/// Side of the square window of [`ssim`], in pixels.
const WINDOW: usize = 7;

/// Mean absolute difference, `mean |a - b|`.
///
/// # Panics
/// When the planes differ in size.
pub fn l1(a: &Plane, b: &Plane) -> f64 {
    mean_over_pixels(a, b, f64::abs)
}

/// Peak signal-to-noise ratio in decibel for values in [0, 1], `10 log10(1 / mean (a - b)^2)`; infinite for equal planes.
///
/// # Panics
/// When the planes differ in size.
pub fn psnr(a: &Plane, b: &Plane) -> f64 {
    -10.0 * mean_over_pixels(a, b, |difference| difference * difference).log10()
}

/// Structural similarity of values in [0, 1] (Wang et al. 2004, IEEE Trans. Image Process. 13): the mean of
///
/// `(2 ma mb + c1) (2 cov + c2) / ((ma^2 + mb^2 + c1) (va + vb + c2))`
///
/// over all 7 x 7 windows that lie within the image, with means `m`, sample variances `v` and covariance of the
/// window, `c1` = 0.01^2 and `c2` = 0.03^2. None when a side is shorter than the window.
///
/// # Panics
/// When the planes differ in size.
pub fn ssim(a: &Plane, b: &Plane) -> Option<f64> {
    assert_same_size([a.height(), a.width()], [b.height(), b.width()]);
    let [height, width] = [a.height(), a.width()];
    if height < WINDOW || width < WINDOW {
        return None;
    }
    let mut sum = 0.0;
    for top in 0..=height - WINDOW {
        let columns: Vec<Moments> = (0..width)
            .map(|x| Moments::total((top..top + WINDOW).map(|y| Moments::of(a.get(y, x) as f64, b.get(y, x) as f64))))
            .collect();
        sum += columns.windows(WINDOW).map(|window| Moments::total(window.iter().copied()).similarity()).sum::<f64>();
    }
    Some(sum / ((height - WINDOW + 1) * (width - WINDOW + 1)) as f64)
}

/// Pearson's correlation of the values of two planes, in [-1, 1]. None when one of them is of one value throughout.
///
/// # Panics
/// When the planes differ in size.
pub fn correlation(a: &Plane, b: &Plane) -> Option<f64> {
    assert_same_size([a.height(), a.width()], [b.height(), b.width()]);
    let pixels = a.pixels().iter().zip(b.pixels());
    let Moments(sums) = Moments::total(pixels.map(|(a, b)| Moments::of(f64::from(*a), f64::from(*b))));
    let [ma, mb, aa, bb, ab] = sums.map(|sum| sum / a.pixels().len() as f64);
    let [va, vb] = [aa - ma * ma, bb - mb * mb];
    // What rounding leaves of the variance of equal values.
    let blank = |variance: f64, square: f64| variance <= 1e-12 * square;
    (!blank(va, aa) && !blank(vb, bb)).then(|| ((ab - ma * mb) / (va * vb).sqrt()).clamp(-1.0, 1.0))
}

/// Sums over pixels of a, b, a^2, b^2 and ab.
#[derive(Clone, Copy)]
struct Moments([f64; 5]);

impl Moments {
    fn of(a: f64, b: f64) -> Self {
        Self([a, b, a * a, b * b, a * b])
    }

    fn total(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self([0.0; 5]), |Self(sum), Self(part)| Self(std::array::from_fn(|i| sum[i] + part[i])))
    }

    /// The similarity of one window, from the sums over its pixels.
    fn similarity(self) -> f64 {
        let n = (WINDOW * WINDOW) as f64;
        let [c1, c2] = [0.01f64.powi(2), 0.03f64.powi(2)];
        let [ma, mb, aa, bb, ab] = self.0.map(|sum| sum / n);
        let sample = n / (n - 1.0);
        let variances = sample * ((aa - ma * ma) + (bb - mb * mb));
        let covariance = sample * (ab - ma * mb);
        (2.0 * ma * mb + c1) * (2.0 * covariance + c2) / ((ma * ma + mb * mb + c1) * (variances + c2))
    }
}

/// Overlap of one class, `2 |A and B| / (|A| + |B|)`. None when neither map has the class: then there is nothing to
/// be right about, and a score of 1 would flatter.
///
/// # Panics
/// When the maps differ in size.
pub fn dice(a: &LabelMap, b: &LabelMap, class: u8) -> Option<f64> {
    let [both, sum] = overlap(a, b, class);
    (sum > 0).then(|| 2.0 * both as f64 / sum as f64)
}

/// Intersection over union of one class, `|A and B| / |A or B|`. None when neither map has the class.
///
/// # Panics
/// When the maps differ in size.
pub fn iou(a: &LabelMap, b: &LabelMap, class: u8) -> Option<f64> {
    let [both, sum] = overlap(a, b, class);
    (sum > 0).then(|| both as f64 / (sum - both) as f64)
}

/// Mean and spread of a score over images or folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); None for a single value, which has no spread to estimate.
    pub sd: Option<f64>,
    /// Number of values.
    pub n: usize,
}

impl Summary {
    /// Summarises the values; None when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some(Self { mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n })
    }
}

impl std::fmt::Display for Summary {
    /// Writes `0.736 ± 0.005`, or the mean alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.mean)?;
        self.sd.map_or(Ok(()), |sd| write!(f, " ± {sd:.3}"))
    }
}

fn assert_same_size(a: [usize; 2], b: [usize; 2]) {
    assert_eq!(a, b, "images (height, width) of different sizes cannot be compared");
}

fn mean_over_pixels(a: &Plane, b: &Plane, cost: impl Fn(f64) -> f64) -> f64 {
    assert_same_size([a.height(), a.width()], [b.height(), b.width()]);
    let pairs = a.pixels().iter().zip(b.pixels());
    pairs.map(|(&a, &b)| cost(a as f64 - b as f64)).sum::<f64>() / a.pixels().len() as f64
}

/// `[|A and B|, |A| + |B|]` of one class, in pixels.
fn overlap(a: &LabelMap, b: &LabelMap, class: u8) -> [usize; 2] {
    assert_same_size([a.height(), a.width()], [b.height(), b.width()]);
    a.classes().iter().zip(b.classes()).fold([0, 0], |[both, sum], (&a, &b)| {
        let [a, b] = [usize::from(a == class), usize::from(b == class)];
        [both + a * b, sum + a + b]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use safetensors::SafeTensors;
    use serde_json::Value;

    fn golden_plane(file: &SafeTensors<'_>, name: &str) -> Plane {
        let tensor = file.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        Plane::new(tensor.shape()[0], tensor.shape()[1], values)
    }

    #[test]
    fn a_plane_correlates_fully_with_itself_and_its_negative_and_not_with_blank_ones() {
        let plane = Plane::from_fn(3, 4, |y, x| (y * 4 + x) as f32 / 11.0);
        let negative = Plane::from_fn(3, 4, |y, x| 0.5 - 0.5 * plane.get(y, x));
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-6;
        assert!(near(correlation(&plane, &plane), 1.0) && near(correlation(&plane, &negative), -1.0));
        let halves = |a: [f32; 4]| Plane::from_fn(1, 4, |_, x| a[x]);
        assert!(near(correlation(&halves([0.0, 0.0, 1.0, 1.0]), &halves([0.0, 1.0, 0.0, 1.0])), 0.0));
        assert_eq!(correlation(&plane, &Plane::from_fn(3, 4, |_, _| 0.3)), None);
    }

    #[test]
    fn scores_agree_with_scikit_image() {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let expected: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["expected"]).unwrap();
        let pairs = expected.as_object().unwrap();
        assert_eq!(pairs.len(), 4);
        for (pair, scores) in pairs {
            let [a, b] = ["a", "b"].map(|side| golden_plane(&file, &format!("{pair}.{side}")));
            let ours = [("ssim", ssim(&a, &b).unwrap()), ("psnr", psnr(&a, &b)), ("l1", l1(&a, &b))];
            for (score, value) in ours {
                let theirs = scores[score].as_f64().unwrap();
                assert!((value - theirs).abs() <= 1e-6, "{score} of pair {pair}: {value}, scikit-image {theirs}");
            }
        }
    }

    #[test]
    fn l1_and_psnr_of_a_case_worked_by_hand() {
        let a = Plane::new(1, 4, vec![0.0, 0.5, 1.0, 0.25]);
        let b = Plane::new(1, 4, vec![0.0, 0.25, 0.5, 0.5]);
        assert_eq!(l1(&a, &b), 0.25);
        // Squares 0, 1/16, 1/4, 1/16: mean 3/32.
        assert!((psnr(&a, &b) - 10.0 * (32.0f64 / 3.0).log10()).abs() < 1e-12);
        assert_eq!(psnr(&a, &a), f64::INFINITY);
    }

    #[test]
    fn similarity_of_flat_planes_is_its_luminance_term() {
        let flat = |value: f32| Plane::from_fn(9, 8, |_, _| value);
        let expected = (2.0 * 0.25 * 0.75 + 1e-4) / (0.25f64.powi(2) + 0.75f64.powi(2) + 1e-4);
        assert!((ssim(&flat(0.25), &flat(0.75)).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn similarity_is_symmetric_and_one_with_itself() {
        let noise = |seed| {
            let stream = Stream::new(seed);
            Plane::from_fn(20, 13, |y, x| 0.5 + 0.1 * stream.normal_at(y, x))
        };
        let [a, b] = [noise(1), noise(2)];
        assert!((ssim(&a, &a).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(ssim(&a, &b), ssim(&b, &a));
    }

    #[test]
    fn an_image_smaller_than_the_window_has_no_similarity() {
        let thin = Plane::from_fn(6, 50, |_, _| 0.5);
        assert_eq!(ssim(&thin, &thin), None);
    }

    #[test]
    fn overlaps_of_a_case_worked_by_hand() {
        let a = LabelMap::new(2, 3, vec![0, 1, 1, 2, 2, 2]);
        let b = LabelMap::new(2, 3, vec![0, 0, 1, 1, 2, 2]);
        assert_eq!(dice(&a, &b, 1), Some(0.5));
        assert_eq!(iou(&a, &b, 1), Some(1.0 / 3.0));
        assert_eq!(dice(&a, &b, 2), Some(0.8));
        assert_eq!(iou(&a, &b, 2), Some(2.0 / 3.0));
        assert_eq!(dice(&a, &b, 3), None);
        assert_eq!(iou(&a, &b, 3), None);
    }

    #[test]
    fn a_class_that_one_map_misses_scores_zero() {
        let a = LabelMap::new(1, 2, vec![1, 1]);
        let b = LabelMap::new(1, 2, vec![0, 0]);
        assert_eq!(dice(&a, &b, 1), Some(0.0));
        assert_eq!(iou(&b, &a, 1), Some(0.0));
    }

    #[test]
    fn a_summary_has_the_sample_deviation_and_none_for_one_value() {
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!([summary.mean, summary.n as f64], [2.5, 4.0]);
        assert!((summary.sd.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(summary.to_string(), "2.500 ± 1.291");
        let one = Summary::of(&[0.5]).unwrap();
        assert_eq!((one.sd, one.to_string()), (None, "0.500".to_string()));
        assert_eq!(Summary::of(&[]), None);
    }
}
