//! The kernels of cards against Burn's own operations in 64 bits on the processor, as those of the processor are tested.

use burn::optim::AdamConfig;
use burn::tensor::{Device, Tensor};

use super::super::tests::{
    averaged, check_activations_and_sums, check_averages, check_doing_once_more, check_norms, check_resizing, moved,
};
use super::super::{adam, averaged_adam};

/// The card of the kind that this build is for, if there is one.
///
/// # Panics
/// If there is none and `SYNLABEL_REQUIRE_CARD` asks for it.
fn device() -> Option<Device> {
    let answers = std::panic::catch_unwind(|| {
        let device = Device::default();
        Tensor::<1>::ones([2], &device).sum().into_scalar::<f32>();
        device
    });
    if answers.is_err() {
        assert!(std::env::var_os("SYNLABEL_REQUIRE_CARD").is_none(), "no card answers");
        eprintln!("no card answers: its kernels are not tested");
    }
    answers.ok()
}

#[test]
fn a_card_holds_its_tensors_and_no_others() {
    let Some(device) = device() else { return };
    let of = |device: &Device| Tensor::<1>::ones([2], device);
    assert!(super::holds(&of(&device)) && super::holds(&of(&device.clone().autodiff())));
    assert!(!super::holds(&of(&Device::flex())) && !super::holds(&Tensor::<1>::zeros([0], &device)));
}

#[test]
fn norms_agree_with_plain_ones() {
    device().as_ref().into_iter().for_each(check_norms);
}

#[test]
fn resizing_agrees_with_matrix_products() {
    device().as_ref().into_iter().for_each(check_resizing);
}

#[test]
fn activations_and_sums_agree_with_plain_ones() {
    device().as_ref().into_iter().for_each(check_activations_and_sums);
}

#[test]
fn gradients_are_the_same_where_cheap_operations_are_done_once_more() {
    device().as_ref().into_iter().for_each(check_doing_once_more);
}

#[test]
fn adam_moves_weights_as_on_the_processor() {
    let Some(device) = device() else { return };
    let plain = || AdamConfig::new().with_beta_1(0.5).with_beta_2(0.9).with_epsilon(1e-8).init();
    let ours = || adam([0.5, 0.9], 1e-8);
    let (ours, plain) = (moved(&device, ours(), ours()), moved(&Device::flex(), plain(), plain()));
    assert!(ours.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn averages_are_moved_with_the_weights_or_after_them() {
    let Some(device) = device() else { return };
    let ours = averaged(&device, averaged_adam([0.5, 0.9], 1e-8));
    check_averages(&ours);
    let alone = averaged(&device, adam([0.5, 0.9], 1e-8).into());
    check_averages(&alone);
    assert!(ours.iter().zip(&alone).all(|([ours, ..], [alone, ..])| ours == alone));
}
