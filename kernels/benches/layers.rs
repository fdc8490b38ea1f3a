//! Layers of the networks on the processor, forth, and forth and back: `cargo bench -p synlabel-kernels`.

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{DType, Device, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use synlabel_kernels::{Activation, Border, Norm, Products, Resize, convolve, normalise, resize};

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut random = Rng::with_seed(1);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * random.f32() - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// Times a layer of an input and weights of these shapes: on constants, and with the gradients of both.
fn both_ways(
    criterion: &mut Criterion,
    name: &str,
    [input, weights]: [[usize; 4]; 2],
    layer: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
) {
    let [x, weight] = [input, weights].map(|shape| noise(shape, &Device::flex()));
    criterion.bench_function(&format!("{name}, forth"), |bencher| {
        bencher.iter(|| black_box(layer(x.clone(), weight.clone())));
    });
    let [x, weight] = [input, weights].map(|shape| noise(shape, &Device::flex().autodiff()).require_grad());
    criterion.bench_function(&format!("{name}, forth and back"), |bencher| {
        bencher.iter(|| black_box(layer(x.clone(), weight.clone()).sum().backward()));
    });
}

fn layers(criterion: &mut Criterion) {
    for (batch, inputs, outputs, side) in
        [(4, 16, 16, 32), (4, 24, 24, 64), (4, 64, 64, 16), (1, 64, 64, 128), (1, 256, 256, 32)]
    {
        let name = format!("convolution {inputs} to {outputs} at {side} px, batch {batch}");
        both_ways(criterion, &name, [[batch, inputs, side, side], [outputs, inputs, 3, 3]], |x, weight| {
            convolve(x, weight, None, [1, 1], [1, 1], Border::Zero, Products::F32)
        });
    }
    // These have no weights of this shape.
    let shapes = [[1, 64, 128, 128], [1, 1, 1, 1]];
    let norm = |resize| Norm { groups: 16, eps: 1e-6, activation: Activation::Silu, resize };
    both_ways(criterion, "norm and SiLU, 64 channels at 128 px", shapes, |x, _| normalise(x, None, &norm(None)));
    for how in [Resize::Double, Resize::Halve] {
        let name = format!("norm, SiLU and {how:?}, 64 channels at 128 px");
        both_ways(criterion, &name, shapes, |x, _| normalise(x, None, &norm(Some(how))));
        let name = format!("norm and SiLU, then {how:?}, 64 channels at 128 px");
        both_ways(criterion, &name, shapes, |x, _| resize(normalise(x, None, &norm(None)), how));
    }
    for how in [Resize::Double, Resize::Halve] {
        both_ways(criterion, &format!("{how:?}, 64 channels at 128 px"), shapes, |x, _| resize(x, how));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = layers
}
criterion_main!(benches);
