//! Every kernel against Burn's own operations in 64 bits, on random shapes, forth and back; and that neither the
//! instructions nor the number of threads change what they should not.

use burn::tensor::{DType, Device, Tensor, TensorData};
use fastrand::Rng;
use pulp::Arch;

use super::geometry::{Geometry, Weights};
use super::simd::best;
use super::*;

/// Numbers in [-2, 2].
pub fn numbers(random: &mut Rng, count: usize) -> Vec<f32> {
    std::iter::repeat_with(|| 4.0 * random.f32() - 2.0).take(count).collect()
}

/// The output of an operation on tensors of these lengths, and the gradients of a random weighting of it.
fn run(
    device: &Device,
    dtype: DType,
    lengths: &[usize],
    operation: &dyn Fn(Vec<Tensor<1>>) -> Tensor<1>,
) -> Vec<Vec<f64>> {
    let device = device.clone().autodiff();
    let mut random = Rng::with_seed(9);
    let mut draw = |length: usize| {
        let values = TensorData::new(numbers(&mut random, length), [length]);
        Tensor::<1>::from_data(values, (&device, DType::F32)).cast(dtype)
    };
    let inputs: Vec<Tensor<1>> = lengths.iter().map(|length| draw(*length).detach().require_grad()).collect();
    let output = operation(inputs.clone());
    let weights = draw(output.dims()[0]);
    let gradients = (output.clone() * weights).sum().backward();
    let host = |tensor: Tensor<1>| tensor.into_data().convert::<f64>().try_into_vec::<f64>().unwrap();
    let of_inputs = inputs.iter().map(|input| host(input.grad(&gradients).expect("each input has a gradient")));
    std::iter::once(host(output.without_autodiff())).chain(of_inputs).collect()
}

/// Our kernels work in 32 bits; in 64 bits Burn's own operations do.
fn agree(device: &Device, what: &str, lengths: &[usize], operation: impl Fn(Vec<Tensor<1>>) -> Tensor<1>) {
    agree_within(1e-5, device, what, lengths, operation);
}

/// That a device gives what Burn's operations give in 64 bits, with errors up to a share of the largest value.
pub fn agree_within(
    share: f64,
    device: &Device,
    what: &str,
    lengths: &[usize],
    operation: impl Fn(Vec<Tensor<1>>) -> Tensor<1>,
) {
    let plain = run(&Device::flex(), DType::F64, lengths, &operation);
    let ours = run(device, DType::F32, lengths, &operation);
    for (place, (ours, plain)) in ours.iter().zip(&plain).enumerate() {
        assert_eq!(ours.len(), plain.len());
        let largest = plain.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
        for (a, b) in ours.iter().zip(plain) {
            assert!((a - b).abs() < share * largest, "{what}, place {place}: {a} is not {b}");
        }
    }
}

pub fn geometries(seed: u64, count: usize) -> Vec<Geometry> {
    let mut random = Rng::with_seed(seed);
    let mut geometries = Vec::new();
    while geometries.len() < count {
        let mut upto = |most: usize| 1 + random.usize(..most);
        let border = if upto(4) == 1 { Border::Reflect } else { Border::Zero };
        let kernel = [[1, 1], [3, 3], [3, 3], [4, 4], [7, 7], [3, 1], [2, 2]][upto(7) - 1];
        let stride = [[1, 1], [1, 1], [2, 2], [2, 1], [3, 2]][if border == Border::Zero { upto(5) - 1 } else { 0 }];
        let size = if upto(3) == 1 { [upto(20), 16 * upto(2)] } else { [upto(20), upto(36)] };
        let padding = kernel.map(|side: usize| upto(side) - 1);
        let (batch, inputs, outputs) = (upto(3), upto(11), upto(19));
        let geometry = Geometry { batch, inputs, outputs, size, kernel, stride, padding, border };
        if geometry.is_usual() {
            geometries.push(geometry);
        }
    }
    geometries
}

/// Convolutions that go by Winograd's algorithm in both directions: with rows that fill vectors and others, odd sizes, channels
/// that are no multiple of anything, every padding and border, and as much as is not computed in one go.
fn fast_geometries() -> Vec<Geometry> {
    let geometry = |batch, inputs, outputs, size, padding, border| {
        let geometry = Geometry { batch, inputs, outputs, size, kernel: [3, 3], stride: [1, 1], padding, border };
        assert!(winograd::forward::suits(&geometry) && winograd::weights::suits(&geometry), "{geometry:?}");
        geometry
    };
    let mut random = Rng::with_seed(8);
    let drawn = std::iter::repeat_with(|| {
        let size = [random.usize(16..40), random.usize(16..40)];
        let border = if random.bool() { Border::Zero } else { Border::Reflect };
        let padding = [random.usize(0..3), random.usize(0..3)];
        geometry(random.usize(3..5), random.usize(8..40), random.usize(8..40), size, padding, border)
    });
    let mut all: Vec<Geometry> = drawn.take(6).collect();
    all.extend([
        geometry(1, 8, 8, [32, 32], [1, 1], Border::Zero),
        geometry(3, 9, 13, [13, 22], [1, 1], Border::Zero),
        geometry(2, 17, 24, [21, 33], [0, 2], Border::Zero),
        geometry(2, 24, 11, [18, 31], [1, 1], Border::Reflect),
        geometry(9, 10, 33, [8, 7], [2, 1], Border::Reflect),
        geometry(16, 9, 20, [4, 4], [1, 1], Border::Zero),
        geometry(7, 12, 9, [9, 12], [1, 1], Border::Zero),
        // So high and narrow that they go through by bands.
        geometry(1, 40, 9, [900, 5], [1, 1], Border::Reflect),
        geometry(2, 9, 10, [4000, 12], [1, 1], Border::Zero),
        geometry(2, 100, 9, [3, 190], [1, 1], Border::Zero),
        geometry(1, 40, 70, [70, 90], [1, 0], Border::Zero),
        // Rows of whole vectors: one row, a part of one and several in a vector of tiles, and several images and bands.
        geometry(2, 9, 12, [35, 16], [1, 1], Border::Zero),
        geometry(5, 11, 8, [16, 16], [1, 1], Border::Reflect),
        geometry(8, 9, 10, [4, 16], [1, 1], Border::Reflect),
        geometry(4, 8, 17, [5, 32], [1, 1], Border::Reflect),
        geometry(2, 10, 9, [7, 48], [2, 1], Border::Zero),
        geometry(1, 8, 9, [14, 48], [1, 1], Border::Reflect),
        geometry(2, 8, 9, [9, 64], [0, 1], Border::Reflect),
        geometry(1, 12, 8, [12, 80], [1, 1], Border::Reflect),
        geometry(1, 9, 10, [11, 144], [1, 1], Border::Zero),
        geometry(1, 9, 10, [10, 144], [1, 1], Border::Reflect),
        geometry(1, 40, 9, [300, 64], [1, 1], Border::Zero),
    ]);
    all
}

/// Convolutions that do not go by Winograd's algorithm, of so many outputs and pixels that their gradients are computed in several
/// parts and vectors; and with one output.
fn other_geometries() -> Vec<Geometry> {
    let geometry = |batch, inputs, outputs, size, kernel: [usize; 2], stride, padding, border| Geometry {
        batch,
        inputs,
        outputs,
        size,
        kernel,
        stride,
        padding,
        border,
    };
    vec![
        geometry(2, 9, 40, [90, 101], [3, 3], [2, 2], [1, 1], Border::Zero),
        geometry(3, 5, 50, [61, 33], [4, 4], [1, 1], [1, 2], Border::Reflect),
        geometry(2, 21, 1, [40, 53], [7, 7], [1, 1], [3, 3], Border::Reflect),
        geometry(1, 1, 33, [70, 70], [7, 7], [1, 1], [3, 3], Border::Zero),
        geometry(2, 12, 70, [64, 48], [1, 1], [1, 1], [0, 0], Border::Zero),
    ]
}

#[test]
fn convolutions_agree_with_plain_ones() {
    for geometry in geometries(1, 40).into_iter().chain(fast_geometries()).chain(other_geometries()) {
        let Geometry { batch, inputs, outputs, size, kernel, stride, padding, border } = geometry;
        let input = batch * inputs * geometry.area();
        let weights = outputs * inputs * geometry.taps();
        for biases in [0, 1, batch] {
            let lengths = if biases > 0 { vec![input, weights, biases * outputs] } else { vec![input, weights] };
            agree_within(3e-6, &Device::flex(), &format!("{geometry:?}"), &lengths, |tensors| {
                let x = tensors[0].clone().reshape([batch, inputs, size[0], size[1]]);
                let weight = tensors[1].clone().reshape([outputs, inputs, kernel[0], kernel[1]]);
                let bias = tensors.get(2).map(|bias| bias.clone().reshape([biases, outputs]));
                let y = convolve(x, weight, bias, stride, padding, border, Products::F32);
                assert_eq!(y.dims()[2..], geometry.size_out());
                y.flatten(0, 3)
            });
        }
    }
}

#[test]
fn transposed_convolutions_agree_with_plain_ones() {
    for (kernel, stride, padding, padding_out) in [
        ([3, 3], [2, 2], [1, 1], [1, 1]),
        ([2, 2], [2, 2], [0, 0], [0, 0]),
        ([2, 1], [2, 1], [0, 0], [0, 0]),
        ([4, 4], [2, 2], [1, 1], [0, 0]),
    ] {
        let (batch, inputs, outputs, [height, width]) = (2, 5, 9, [7, 12]);
        let taps = kernel[0] * kernel[1];
        agree(
            &Device::flex(),
            "transposed",
            &[batch * inputs * height * width, inputs * outputs * taps, outputs],
            |tensors| {
                let x = tensors[0].clone().reshape([batch, inputs, height, width]);
                let weight = tensors[1].clone().reshape([inputs, outputs, kernel[0], kernel[1]]);
                convolve_transposed(x, weight, Some(tensors[2].clone()), stride, padding, padding_out, Products::F32)
                    .flatten(0, 3)
            },
        );
    }
}

#[test]
fn norms_agree_with_plain_ones() {
    check_norms(&Device::flex());
}

pub fn check_norms(device: &Device) {
    let activations =
        [Activation::Identity, Activation::Relu, Activation::LeakyRelu(0.2), Activation::Silu].into_iter().enumerate();
    for (place, activation) in activations {
        for (batch, channels, height, width, groups) in
            [(2, 8, 6, 6, 2), (1, 4, 5, 13, 4), (3, 12, 9, 16, 3), (2, 4, 70, 90, 2)]
        {
            let area = height * width;
            let whole = height % 2 == 0 && width % 2 == 0;
            let resizes = [None, Some(Resize::Double), Some(Resize::Halve).filter(|_| whole)];
            for (rows, resize) in [0, 1, batch].into_iter().zip(resizes).chain([(1, None), (batch, resizes[2])]) {
                let table = rows * channels;
                let lengths =
                    if rows == 0 { vec![batch * channels * area] } else { vec![batch * channels * area, table, table] };
                agree(device, &format!("norm {place} {rows} {resize:?}"), &lengths, |tensors| {
                    let x = tensors[0].clone().reshape([batch, channels, height, width]);
                    let affine =
                        (rows > 0).then(|| [1, 2].map(|i: usize| tensors[i].clone().reshape([rows, channels])));
                    normalise(x * 2.0 + 1.0, affine, &Norm { groups, eps: 1e-5, activation, resize }).flatten(0, 3)
                });
            }
        }
    }
}

#[test]
fn resizing_agrees_with_matrix_products() {
    check_resizing(&Device::flex());
}

pub fn check_resizing(device: &Device) {
    for how in [Resize::Double, Resize::Halve, Resize::Repeat, Resize::Average, Resize::Blur] {
        for (batch, channels, height, width) in [(1, 3, 2, 2), (2, 1, 6, 20), (1, 2, 16, 34), (1, 1, 32, 64)] {
            agree(device, &format!("{how:?}"), &[batch * channels * height * width], |tensors| {
                resize(tensors[0].clone().reshape([batch, channels, height, width]), how).flatten(0, 3)
            });
            agree(device, &format!("activated {how:?}"), &[batch * channels * height * width], |tensors| {
                let x = tensors[0].clone().reshape([batch, channels, height, width]);
                resize_activated(x, Activation::LeakyRelu(0.2), how).flatten(0, 3)
            });
        }
    }
}

#[test]
fn activations_and_sums_agree_with_plain_ones() {
    check_activations_and_sums(&Device::flex());
}

pub fn check_activations_and_sums(device: &Device) {
    let activations = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.01),
        Activation::Silu,
        Activation::Softplus,
        Activation::Tanh,
    ];
    for activation in activations {
        agree(device, &format!("{activation:?}"), &[20_011], |tensors| activate(tensors[0].clone(), activation));
    }
    agree(device, "sum", &[37, 37], |tensors| add_scaled(tensors[0].clone(), tensors[1].clone(), 0.7));
}

#[test]
fn attention_agrees_with_a_plain_one() {
    for [batch, channels, height, width] in [[1, 1, 1, 1], [2, 5, 3, 7], [3, 8, 8, 8], [1, 33, 5, 13], [2, 16, 16, 16]]
    {
        let count = batch * channels * height * width;
        agree(&Device::flex(), &format!("attention {channels} {height}"), &[count; 3], |tensors| {
            let maps = tensors.into_iter().map(|tensor| tensor.reshape([batch, channels, height, width]));
            let [query, key, value] = maps.collect::<Vec<_>>().try_into().unwrap();
            attend(query, key * 0.5, value).flatten(0, 3)
        });
    }
    // Where exponentials alone would be too large: the second position is attended to alone; what is no number is seen.
    let map = |values: [f32; 3]| Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, 1, 1, 3]);
    let y = attend(map([1.0, -1e4, f32::NAN]), map([1e4, -2e4, 0.0]), map([5.0, 7.0, 9.0]));
    let y = y.into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(y[..2], [5.0, 7.0]);
    assert!(y[2].is_nan());
}

#[test]
fn convolutions_with_residuals_agree_with_plain_ones() {
    // By few pixels and by many; the residual is used elsewhere too, as in a residual block.
    for (batch, channels, size, kernel) in [(1, 3, 5, 3), (2, 16, 16, 3), (1, 8, 36, 3), (2, 6, 9, 1)] {
        let count = batch * channels * size * size;
        let lengths = [count, channels * channels * kernel * kernel, channels, count];
        for rows in [None, Some(1)] {
            agree(&Device::flex(), &format!("residual {channels} {size}"), &lengths, |tensors| {
                let [x, rest] = [0, 3].map(|i| tensors[i].clone().reshape([batch, channels, size, size]));
                let weight = tensors[1].clone().reshape([channels, channels, kernel, kernel]);
                let bias = rows.map(|rows| tensors[2].clone().reshape([rows, channels]));
                let residual = Residual { rest: rest.clone(), factor: 0.7 };
                let y = convolve_residual(x, weight, bias, residual, [kernel / 2; 2], Products::F32) + rest;
                // Each input has a gradient, with bias or without.
                y.flatten(0, 3) + tensors[2].clone().sum() * 0.1
            });
        }
    }
}

#[test]
fn channels_are_mapped_as_by_products() {
    for [batch, inputs, outputs, height, width] in [[1, 1, 1, 1, 1], [2, 5, 3, 3, 7], [3, 16, 24, 8, 8]] {
        let lengths = [batch * inputs * height * width, inputs * outputs, outputs];
        agree(&Device::flex(), &format!("map {inputs} {outputs}"), &lengths, |tensors| {
            let x = tensors[0].clone().reshape([batch, inputs, height, width]);
            let weight = tensors[1].clone().reshape([inputs, outputs]);
            map_channels(x, weight, tensors[2].clone(), Products::F32).flatten(0, 3)
        });
    }
}

#[test]
fn operations_on_constants_and_parameters_mix() {
    let device = Device::flex();
    let constant = Tensor::<4>::ones([1, 2, 4, 4], &device);
    let weight = Tensor::<4>::ones([3, 2, 3, 3], &device.clone().autodiff()).require_grad();
    let y = convolve(constant, weight.clone(), None, [1, 1], [1, 1], Border::Zero, Products::F32);
    let gradients = y.sum().backward();
    // The middle tap sees all 16 pixels.
    let gradient = weight.grad(&gradients).unwrap();
    assert_eq!(gradient.slice([0..1, 0..1, 1..2, 1..2]).into_scalar::<f32>(), 16.0);
}

/// Everything that a kernel of this geometry computes.
fn all_of(arch: Arch, geometry: &Geometry) -> Vec<Vec<f32>> {
    let mut random = Rng::with_seed(3);
    let x = numbers(&mut random, geometry.batch * geometry.inputs * geometry.area());
    let weights = numbers(&mut random, geometry.outputs * geometry.inputs * geometry.taps());
    let gradient = numbers(&mut random, geometry.batch * geometry.outputs * geometry.area_out());
    vec![
        conv::forward(arch, geometry, &x, Weights::Plain(&weights), conv::After::default()),
        conv::forward(
            arch,
            geometry,
            &x,
            Weights::Plain(&weights),
            conv::After { residual: Some((&gradient, 0.7)), bias: None },
        ),
        conv::input_gradient(arch, geometry, &gradient, &weights, None),
        weights::weight_gradient(arch, geometry, &x, &gradient),
        weights::plane_sums(arch, &gradient, geometry.area_out()),
        weights::weight_gradient_and_plane_sums(arch, geometry, &x, &gradient).0,
        weights::weight_gradient_and_plane_sums(arch, geometry, &x, &gradient).1,
    ]
}

/// Instructions of this processor that it has besides its best.
pub fn other_instructions() -> Vec<Arch> {
    let mut others = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    others.extend(pulp::x86::V3::try_new().map(Arch::V3));
    others
}

#[test]
fn all_instruction_sets_give_the_same_up_to_rounding() {
    let others = other_instructions();
    for geometry in geometries(2, 12).into_iter().chain(fast_geometries()).chain(other_geometries()) {
        let expected = all_of(best(), &geometry);
        for arch in &others {
            for (ours, expected) in all_of(*arch, &geometry).iter().zip(&expected) {
                let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
                assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * largest), "{geometry:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with_threads =
        |threads: usize, geometry: &Geometry| team::tests::with_threads(threads, || all_of(best(), geometry));
    for geometry in geometries(4, 12).into_iter().chain(fast_geometries()).chain(other_geometries()) {
        let alone = with_threads(1, &geometry);
        // All numbers of both would fill the screen.
        assert!(alone == with_threads(3, &geometry), "three threads differ: {geometry:?}");
        assert!(alone == with_threads(8, &geometry), "eight threads differ: {geometry:?}");
    }
}

/// Weights after three steps of an optimiser, saved and read again before the last.
pub fn moved(
    device: &Device,
    mut optimiser: burn::optim::ModuleOptimizer,
    fresh: burn::optim::ModuleOptimizer,
) -> Vec<f32> {
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    #[derive(Module, Debug)]
    struct Weights {
        weights: Param<Tensor<1>>,
    }
    let device = device.clone().autodiff();
    let mut random = Rng::with_seed(5);
    let mut draw = || Tensor::<1>::from_data(TensorData::new(numbers(&mut random, 40_000), [40_000]), &device);
    let mut network = Weights { weights: Param::from_tensor(draw()) };
    let mut fresh = Some(fresh);
    for step in 0..3 {
        if step == 2 {
            let record = optimiser.to_record();
            optimiser = fresh.take().expect("it is taken once").load_record(record);
        }
        let loss = (network.weights.val() * draw().detach()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimiser.step(0.1, network, gradients);
    }
    network.weights.val().without_autodiff().into_data().try_into_vec::<f32>().unwrap()
}

#[test]
fn adam_moves_weights_as_burns_own_does() {
    use burn::optim::AdamConfig;
    let plain = || AdamConfig::new().with_beta_1(0.5).with_beta_2(0.9).with_epsilon(1e-8).init();
    let ours = || adam([0.5, 0.9], 1e-8);
    // Either reads what the other has saved.
    assert!(moved(&Device::flex(), ours(), plain()) == moved(&Device::flex(), plain(), ours()));
    assert!(moved(&Device::flex(), ours(), ours()) == moved(&Device::flex(), plain(), plain()));
}

#[test]
fn an_average_moved_with_the_weights_is_the_one_moved_after_them() {
    let ours = averaged(&Device::flex(), averaged_adam([0.5, 0.9], 1e-8));
    assert!(ours == averaged(&Device::flex(), adam([0.5, 0.9], 1e-8).into()));
    check_averages(&ours);
}

#[test]
fn an_average_is_moved_where_it_stands() {
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    let device = Device::flex().autodiff();
    let mut weights = Param::from_tensor(Tensor::<1>::ones([40_000], &device));
    // It begins in the place of the weights.
    let mut average = weights.valid();
    let place = |average: &Param<Tensor<1>>| bridge::plain_values(&average.val()).slice().as_ptr();
    let before = place(&average);
    let mut optimiser = averaged_adam([0.5, 0.9], 1e-8);
    for decay in [0.0, DECAY, DECAY] {
        let gradients = GradientsParams::from_grads(weights.val().square().sum().backward(), &weights);
        optimiser.step(0.1, &mut weights, gradients, &mut average, decay);
        assert_eq!(place(&average), before);
    }
}

/// The values of two parameters, the second without gradients, and of their averages, before and after each of three steps.
pub fn averaged(device: &Device, mut optimiser: Averaging) -> Vec<[Vec<f32>; 4]> {
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    #[derive(Module, Debug)]
    struct Two {
        moved: Param<Tensor<2>>,
        still: Param<Tensor<1>>,
    }
    let device = device.clone().autodiff();
    let mut random = Rng::with_seed(7);
    let mut draw = || Tensor::<1>::from_data(TensorData::new(numbers(&mut random, 40_000), [40_000]), &device);
    let mut network = Two { moved: Param::from_tensor(draw().reshape([200, 200])), still: Param::from_tensor(draw()) };
    // The average begins elsewhere than the weights.
    let mut average = network.valid();
    average.still = average.still.map(|still| still + 1.0);
    let values = |tensor: Tensor<1>| tensor.into_data().try_into_vec::<f32>().unwrap();
    let seen = |network: &Two, average: &Two| {
        let network = network.valid();
        let all = [&network, average].map(|two| [two.moved.val().flatten(0, 1), two.still.val()].map(values));
        let [[moved, still], [moved_average, still_average]] = all;
        [moved, still, moved_average, still_average]
    };
    let mut history = vec![seen(&network, &average)];
    for _ in 0..3 {
        let loss = (network.moved.val().flatten(0, 1) * draw().detach()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        optimiser.step(0.1, &mut network, gradients, &mut average, DECAY);
        history.push(seen(&network, &average));
    }
    history
}

/// Of the averages in tests.
const DECAY: f64 = 0.75;

/// That averages go a quarter of the way to the weights in each step, and only the first parameter moves.
pub fn check_averages(history: &[[Vec<f32>; 4]]) {
    for steps in history.windows(2) {
        let [[before, still_before, old, still_old], [moved, still, average, still_average]] = [&steps[0], &steps[1]];
        assert!(before.iter().zip(moved).any(|(before, moved)| (before - moved).abs() > 0.05));
        assert!(still_before == still);
        for (old, weights, average) in [(old, moved, average), (still_old, still, still_average)] {
            for ((old, weight), average) in old.iter().zip(weights).zip(average) {
                let expected = f64::from(*old) * DECAY + f64::from(*weight) * (1.0 - DECAY);
                assert!((expected - f64::from(*average)).abs() < 1e-6, "{average} is not {expected}");
            }
        }
    }
}

#[test]
fn nesterovs_descent_moves_weights_as_burns_own_does() {
    use burn::optim::SgdConfig;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(true);
    let plain = || {
        SgdConfig::new()
            .with_momentum(Some(momentum.clone()))
            .with_weight_decay(Some(WeightDecayConfig::new(0.01)))
            .init()
    };
    let ours = || nesterov(0.9, 0.01);
    let near = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs().max(1.0));
    // Either reads what the other has saved.
    assert!(near(moved(&Device::flex(), ours(), plain()), moved(&Device::flex(), plain(), ours())));
    assert!(near(moved(&Device::flex(), ours(), ours()), moved(&Device::flex(), plain(), plain())));
}

#[test]
fn squares_are_summed_up() {
    let values: Vec<f32> = (0..40_011).map(|i| (i % 7) as f32 - 3.0).collect();
    let expected: f32 = values.iter().map(|value| value * value).sum();
    let tensor = Tensor::<1>::from_data(TensorData::new(values, [40_011]), &Device::flex());
    assert_eq!(sum_of_squares(tensor).into_scalar::<f32>(), expected);
}

#[test]
fn gradients_are_the_same_where_cheap_operations_are_done_once_more() {
    check_doing_once_more(&Device::flex());
}

pub fn check_doing_once_more(device: &Device) {
    let gradients = |device: Device| {
        let mut random = Rng::with_seed(6);
        let mut draw = |shape: [usize; 4]| {
            let values = numbers(&mut random, shape.iter().product());
            Tensor::<4>::from_data(TensorData::new(values, shape), (&device, DType::F32)).require_grad()
        };
        let (x, table) = (draw([2, 8, 16, 16]), draw([1, 1, 2, 8]));
        let (first, second) = (draw([12, 8, 3, 3]), draw([8, 12, 3, 3]));
        let affine = [0, 1].map(|i| table.clone().slice([0..1, 0..1, i..i + 1, 0..8]).reshape([1, 8]));
        let norm = Norm { groups: 4, eps: 1e-5, activation: Activation::Silu, resize: Some(Resize::Double) };
        let h = normalise(x.clone(), Some(affine), &norm);
        let h = resize(resize(h, Resize::Halve), Resize::Halve);
        let h = convolve(h, first.clone(), None, [1, 1], [1, 1], Border::Zero, Products::F32);
        let norm = Norm { groups: 12, activation: Activation::Identity, resize: None, ..norm };
        let h = activate(normalise(h, None, &norm), Activation::LeakyRelu(0.2));
        let h = convolve(resize(h, Resize::Double), second.clone(), None, [1, 1], [1, 1], Border::Zero, Products::F32);
        let loss = add_scaled(x.clone(), h, 0.7).square().sum();
        let gradients = loss.backward();
        [x, table, first, second].map(|tensor| {
            tensor.grad(&gradients).expect("every tensor has a gradient").into_data().try_into_vec::<f32>().unwrap()
        })
    };
    let device = device.clone().autodiff();
    assert!(gradients(device.clone()) == gradients(device.gradient_checkpointing()));
}
