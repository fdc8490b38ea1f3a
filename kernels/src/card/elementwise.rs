//! Operations that give each value by itself, on cards: one pass over all that they read and write.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::adam::Rates;
use super::super::curve::Activation;
use super::curve::{Curve, curve, slope_at, value};
use super::{beside, cubes_for_values};

/// An activation of each value.
pub fn activate(x: CubeTensor, activation: Activation) -> CubeTensor {
    let (curve, slope) = curve(activation);
    let (out, client) = (beside(&x, x.meta.shape().clone()), x.client.clone());
    let (count, dim) = cubes_for_values(x.meta.num_elements());
    activate_kernel::launch(&client, count, dim, x.into_buffer_arg(), out.clone().into_buffer_arg(), slope, curve);
    out
}

/// The gradient before an activation.
pub fn activate_back(x: CubeTensor, gradient: CubeTensor, activation: Activation) -> CubeTensor {
    let (curve, slope) = curve(activation);
    let (out, client) = (beside(&x, x.meta.shape().clone()), x.client.clone());
    let (count, dim) = cubes_for_values(x.meta.num_elements());
    activate_back_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        gradient.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        slope,
        curve,
    );
    out
}

/// a·p + b·q.
pub fn sum(a: CubeTensor, b: CubeTensor, [p, q]: [f32; 2]) -> CubeTensor {
    let (out, client) = (beside(&a, a.meta.shape().clone()), a.client.clone());
    let (count, dim) = cubes_for_values(a.meta.num_elements());
    sum_kernel::launch(
        &client,
        count,
        dim,
        a.into_buffer_arg(),
        b.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        p,
        q,
    );
    out
}

/// The weights after step `time` of Adam, and both moments.
pub fn adam(
    rates: Rates,
    rate: f32,
    time: usize,
    [weights, gradient, first, second]: [CubeTensor; 4],
) -> [CubeTensor; 3] {
    let client = weights.client.clone();
    let outputs = [(); 3].map(|()| beside(&weights, weights.meta.shape().clone()));
    let (count, dim) = cubes_for_values(weights.meta.num_elements());
    let [out, first_out, second_out] = outputs.clone().map(CubeTensor::into_buffer_arg);
    let (factor, root) = rates.corrections(time);
    adam_kernel::launch(
        &client,
        count,
        dim,
        weights.into_buffer_arg(),
        gradient.into_buffer_arg(),
        first.into_buffer_arg(),
        second.into_buffer_arg(),
        out,
        first_out,
        second_out,
        rates.betas[0],
        rates.betas[1],
        factor * rate,
        rates.epsilon * root,
    );
    outputs
}

/// As [`adam`], and the running average of the weights, moved towards the new ones.
pub fn averaged_adam(
    rates: Rates,
    rate: f32,
    time: usize,
    [weights, gradient, first, second, average]: [CubeTensor; 5],
    decay: f64,
) -> [CubeTensor; 4] {
    let client = weights.client.clone();
    let outputs = [(); 4].map(|()| beside(&weights, weights.meta.shape().clone()));
    let (count, dim) = cubes_for_values(weights.meta.num_elements());
    let [out, first_out, second_out, average_out] = outputs.clone().map(CubeTensor::into_buffer_arg);
    let (factor, root) = rates.corrections(time);
    averaged_adam_kernel::launch(
        &client,
        count,
        dim,
        weights.into_buffer_arg(),
        gradient.into_buffer_arg(),
        first.into_buffer_arg(),
        second.into_buffer_arg(),
        average.into_buffer_arg(),
        out,
        first_out,
        second_out,
        average_out,
        rates.betas[0],
        rates.betas[1],
        factor * rate,
        rates.epsilon * root,
        decay as f32,
        (1.0 - decay) as f32,
    );
    outputs
}

#[cube(launch)]
fn activate_kernel(x: &[f32], out: &mut [f32], slope: f32, #[comptime] curve: Curve) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        out[place] = value(x[place], slope, curve);
    }
}

#[cube(launch)]
fn activate_back_kernel(x: &[f32], gradient: &[f32], out: &mut [f32], slope: f32, #[comptime] curve: Curve) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        out[place] = gradient[place] * slope_at(x[place], slope, curve);
    }
}

#[cube(launch)]
fn sum_kernel(a: &[f32], b: &[f32], out: &mut [f32], p: f32, q: f32) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        out[place] = a[place] * p + b[place] * q;
    }
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers one by one")]
fn adam_kernel(
    weights: &[f32],
    gradient: &[f32],
    first: &[f32],
    second: &[f32],
    out: &mut [f32],
    first_out: &mut [f32],
    second_out: &mut [f32],
    beta_1: f32,
    beta_2: f32,
    rate: f32,
    epsilon: f32,
) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        let slope = gradient[place];
        let mean = moment(first[place], slope, beta_1);
        let square = moment(second[place], slope * slope, beta_2);
        out[place] = weights[place] - rate * mean / (square.sqrt() + epsilon);
        first_out[place] = mean;
        second_out[place] = square;
    }
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers one by one")]
fn averaged_adam_kernel(
    weights: &[f32],
    gradient: &[f32],
    first: &[f32],
    second: &[f32],
    average: &[f32],
    out: &mut [f32],
    first_out: &mut [f32],
    second_out: &mut [f32],
    average_out: &mut [f32],
    beta_1: f32,
    beta_2: f32,
    rate: f32,
    epsilon: f32,
    keep: f32,
    take: f32,
) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        let slope = gradient[place];
        let mean = moment(first[place], slope, beta_1);
        let square = moment(second[place], slope * slope, beta_2);
        let weight = weights[place] - rate * mean / (square.sqrt() + epsilon);
        out[place] = weight;
        first_out[place] = mean;
        second_out[place] = square;
        average_out[place] = average[place] * keep + weight * take;
    }
}

/// A moment after one more value.
#[cube]
fn moment(before: f32, value: f32, beta: f32) -> f32 {
    before * beta + value * (1.0 - beta)
}
