//! The loss terms of one SynDiff iteration, as functions of tensors. Method §4.

use burn::tensor::Tensor;
use synlabel_kernels::{Activation, activate};

/// Non-saturating loss that asks for large logits: mean softplus(−logits).
pub fn real<const D: usize>(logits: Tensor<D>) -> Tensor<1> {
    activate(-logits, Activation::Softplus).mean()
}

/// Non-saturating loss that asks for small logits: mean softplus(logits).
pub fn fake<const D: usize>(logits: Tensor<D>) -> Tensor<1> {
    activate(logits, Activation::Softplus).mean()
}

/// Mean absolute difference.
pub fn l1(a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
    (a - b).abs().mean()
}

/// The R1 penalty γ/2 · mean over the batch of ‖∇_x D‖² (Mescheder et al., arXiv 1801.04406), from ∇_x D.
///
/// # Shapes
/// - input_gradient: `[batch, 1, height, width]`
pub fn r1(input_gradient: Tensor<4>, gamma: f64) -> Tensor<1> {
    let batch = input_gradient.dims()[0] as f64;
    input_gradient.square().sum() * (gamma / 2.0 / batch)
}

/// A term whose gradient is that of [`r1`]: γ · mean over the batch of the logits' change along ∇_x D. See
/// [`tangent`](crate::nn::Signal).
///
/// # Shapes
/// - tangent_logits: `[batch]`
pub fn r1_surrogate(tangent_logits: Tensor<1>, gamma: f64) -> Tensor<1> {
    tangent_logits.mean() * gamma
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn losses_of_a_case_worked_by_hand() {
        let device = Device::flex();
        let scalar = |loss: Tensor<1>| loss.into_scalar::<f32>();
        let close = |a: f32, b: f64| assert!((a as f64 - b).abs() < 1e-6, "{a} is not {b}");
        let logits = Tensor::<1>::from_data([0.0, 2.0], &device);
        let softplus = |x: f64| (1.0 + x.exp()).ln();
        close(scalar(real(logits.clone())), (softplus(0.0) + softplus(-2.0)) / 2.0);
        close(scalar(fake(logits)), (softplus(0.0) + softplus(2.0)) / 2.0);
        let gradient = Tensor::<4>::from_data([[[[1.0, 2.0]]], [[[0.0, 3.0]]]], &device);
        close(scalar(r1(gradient.clone(), 1.0)), (5.0 + 9.0) / 4.0);
        close(scalar(l1(gradient.clone(), gradient.zeros_like())), 1.5);
    }
}
