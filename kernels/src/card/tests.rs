//! The kernels of cards against Burn's own operations in 64 bits on the processor, as those of the processor are tested.

use burn::optim::AdamConfig;
use burn::tensor::{Device, Tensor};

use super::super::convolution::{Convolution, Transposed, record};
use super::super::geometry::Geometry;
use super::super::tests::{
    agree_within, averaged, check_activations_and_sums, check_averages, check_doing_once_more, check_norms,
    check_resizing, geometries, moved,
};
use super::super::{Border, Products, adam, averaged_adam, convolve, convolve_transposed};

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

/// With the units of the card where it has some, and with Burn's kernels on what was laid out for them otherwise.
#[test]
fn laid_out_convolutions_agree_with_plain_ones() {
    let Some(device) = device() else { return };
    let any = super::numbers_of::<super::OnCard, 1>(Tensor::ones([1], &device)).0;
    // Units round factors to 11 bits.
    let share = if super::convolution::has_units(&any, Products::F32) { 5e-3 } else { 1e-5 };
    for geometry in geometries(5, 20) {
        let geometry = Geometry { border: Border::Zero, ..geometry };
        let Geometry { batch, inputs, outputs, size: [height, width], kernel: [tall, wide], .. } = geometry;
        let Geometry { stride, padding, .. } = geometry;
        let images = batch * inputs * height * width;
        for rows in [1, batch] {
            let lengths = [images, outputs * inputs * tall * wide, rows * outputs];
            agree_within(share, &device, &format!("{geometry:?}"), &lengths, |tensors| {
                let x = tensors[0].clone().reshape([batch, inputs, height, width]);
                let weight = tensors[1].clone().reshape([outputs, inputs, tall, wide]);
                let bias = Some(tensors[2].clone().reshape([rows, outputs]));
                let products = Products::F32;
                let y = if super::holds(&x) {
                    let operation = Convolution { geometry, biases: rows, products };
                    record::<super::OnCard, 2, _>(x, weight, bias, operation)
                } else {
                    convolve(x, weight, bias, stride, padding, Border::Zero, products)
                };
                y.flatten(0, 3)
            });
        }
        let [high, broad] = geometry.size_out();
        let lengths = [batch * outputs * high * broad, outputs * inputs * tall * wide, inputs];
        agree_within(share, &device, &format!("{geometry:?} transposed"), &lengths, |tensors| {
            let x = tensors[0].clone().reshape([batch, outputs, high, broad]);
            let weight = tensors[1].clone().reshape([outputs, inputs, tall, wide]);
            let bias = Some(tensors[2].clone());
            let products = Products::F32;
            let y = if super::holds(&x) {
                record::<super::OnCard, 1, _>(x, weight, bias, Transposed { geometry, products })
            } else {
                let out = [0, 1].map(|axis| {
                    let (side, kernel) = ([high, broad][axis], geometry.kernel[axis]);
                    geometry.size[axis] + 2 * padding[axis] - (side - 1) * stride[axis] - kernel
                });
                convolve_transposed(x, weight, bias, stride, padding, out, products)
            };
            y.flatten(0, 3)
        });
    }
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
