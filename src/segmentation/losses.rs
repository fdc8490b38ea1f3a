//! The losses of nnU-Net's training: cross-entropy and soft Dice on each head of the network. Method §6.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

/// Keeps Dice defined where neither prediction nor truth has a class.
const SMOOTH: f64 = 1e-5;

/// Cross-entropy and soft Dice of one head, or their weighted sums over heads.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Mean over pixels of −ln p(true class).
    pub cross_entropy: Tensor<1>,
    /// Minus the soft Dice, in [-1, 0].
    pub dice: Tensor<1>,
}

/// The terms of one head. Dice is nnU-Net's "batch Dice": its sums run over all pixels of all samples, and it is the
/// mean over the classes but the background.
///
/// `dice_c = (2 Σ p_c y_c + s) / (Σ p_c + Σ y_c + s)`
///
/// Pixels without a true class count in neither, as nnU-Net does with its label `ignore`.
///
/// # Shapes
/// - logits: `[batch, classes, height, width]`
/// - truth: the same, 1 for the class of the pixel and 0 for the others; 0 for all where nobody judged the pixel
pub fn head_terms(logits: Tensor<4>, truth: Tensor<4>) -> Terms {
    let classes = logits.dims()[1];
    let log_probabilities = log_softmax(logits, 1);
    let judged = truth.clone().sum_dim(1);
    // A patch of which nothing was judged has a loss of 0.
    let pixels = judged.clone().sum().clamp_min(1.0);
    let cross_entropy = -(log_probabilities.clone() * truth.clone()).sum() / pixels;
    let foreground = |x: Tensor<4>| x.narrow(1, 1, classes - 1);
    let sum = |x: Tensor<4>| x.sum_dim(0).sum_dim(2).sum_dim(3);
    let probabilities = foreground(log_probabilities).exp() * judged;
    let truth = foreground(truth);
    let both = sum(probabilities.clone() * truth.clone());
    let dice = (both * 2.0 + SMOOTH) / (sum(probabilities) + sum(truth) + SMOOTH);
    Terms { cross_entropy, dice: -dice.mean() }
}

/// What each head counts, the finest first: 1, 1/2, 1/4, …, the coarsest 0, together 1. A single head counts 1.
pub fn head_weights(heads: usize) -> Vec<f64> {
    if heads == 1 {
        return vec![1.0];
    }
    let halves = (0..heads).map(|head| if head + 1 == heads { 0.0 } else { 0.5f64.powi(head as i32) });
    let weights: Vec<f64> = halves.collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The terms of all heads, weighted by [`head_weights`]. Heads and truths: the finest first.
pub fn supervise(heads: Vec<Tensor<4>>, truths: Vec<Tensor<4>>) -> Terms {
    let weights = head_weights(heads.len());
    let weighted = heads.into_iter().zip(truths).zip(weights).filter(|(_, weight)| *weight > 0.0);
    weighted
        .map(|((logits, truth), weight)| {
            let Terms { cross_entropy, dice } = head_terms(logits, truth);
            Terms { cross_entropy: cross_entropy * weight, dice: dice * weight }
        })
        .reduce(|a, b| Terms { cross_entropy: a.cross_entropy + b.cross_entropy, dice: a.dice + b.dice })
        .expect("a network has a head")
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn scalar(loss: Tensor<1>) -> f64 {
        loss.into_scalar::<f32>() as f64
    }

    /// Two samples of one pixel, three classes: logits (0, ln 2, 0) and (ln 3, 0, 0), true classes 1 and 2.
    fn case() -> (Tensor<4>, Tensor<4>) {
        let device = Device::flex();
        let column = |values: [f32; 3]| values.map(|value| [[value]]);
        let logits = [column([0.0, 2f32.ln(), 0.0]), column([3f32.ln(), 0.0, 0.0])];
        let truth = [column([0.0, 1.0, 0.0]), column([0.0, 0.0, 1.0])];
        (Tensor::from_data(logits, &device), Tensor::from_data(truth, &device))
    }

    #[test]
    fn the_loss_of_a_case_worked_by_hand() {
        let (logits, truth) = case();
        let terms = head_terms(logits, truth);
        // Probabilities (1/4, 1/2, 1/4) and (3/5, 1/5, 1/5).
        let cross_entropy = -(0.5f64.ln() + 0.2f64.ln()) / 2.0;
        let first = (2.0 * 0.5 + SMOOTH) / (0.5 + 0.2 + 1.0 + SMOOTH);
        let second = (2.0 * 0.2 + SMOOTH) / (0.25 + 0.2 + 1.0 + SMOOTH);
        assert!((scalar(terms.cross_entropy) - cross_entropy).abs() < 1e-6);
        assert!((scalar(terms.dice) + (first + second) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn pixels_that_nobody_judged_change_nothing() {
        let (logits, truth) = case();
        let alone = head_terms(logits.clone().narrow(0, 0, 1), truth.clone().narrow(0, 0, 1));
        let unjudged = truth.clone().narrow(0, 1, 1) * 0.0;
        let beside = head_terms(logits, Tensor::cat(vec![truth.narrow(0, 0, 1), unjudged.clone()], 0));
        assert!((scalar(alone.cross_entropy) - scalar(beside.cross_entropy)).abs() < 1e-6);
        assert!((scalar(alone.dice) - scalar(beside.dice)).abs() < 1e-6);
        let nothing = head_terms(unjudged.clone() + 0.5, unjudged);
        assert_eq!((scalar(nothing.cross_entropy), scalar(nothing.dice)), (0.0, -1.0));
    }

    #[test]
    fn heads_count_half_of_the_finer_one_and_the_coarsest_nothing() {
        assert_eq!(head_weights(1), [1.0]);
        assert_eq!(head_weights(2), [1.0, 0.0]);
        let expected = [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0];
        assert!(head_weights(4).iter().zip(expected).all(|(weight, e)| (weight - e).abs() < 1e-12));
    }

    #[test]
    fn supervision_adds_the_weighted_heads() {
        let (logits, truth) = case();
        let one = head_terms(logits.clone(), truth.clone());
        let heads =
            supervise(vec![logits.clone(), logits.clone(), logits * 0.0], vec![truth.clone(), truth.clone(), truth]);
        // Weights 2/3, 1/3 and 0: the third head, which differs, must not show.
        assert!((scalar(heads.dice) - scalar(one.dice)).abs() < 1e-6);
        assert!((scalar(heads.cross_entropy) - scalar(one.cross_entropy)).abs() < 1e-6);
    }
}
