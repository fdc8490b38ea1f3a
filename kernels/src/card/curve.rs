//! The activations and their slopes on cards.

use cubecl::prelude::*;

use super::super::curve::{Activation, Tanh};

/// An activation without its slope: kernels are compiled for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// x where it is at least 0, and a slope times x below.
    LeakyRelu,
    /// x/(1 + e^−x).
    Silu,
    /// ln(1 + e^x).
    Softplus,
    /// (e^x − e^−x)/(e^x + e^−x).
    Tanh,
}

/// The curve of an activation, and its slope below zero.
pub fn curve(activation: Activation) -> (Curve, f32) {
    match activation {
        Activation::Identity => (Curve::Identity, 0.0),
        Activation::Relu => (Curve::Relu, 0.0),
        Activation::LeakyRelu(slope) => (Curve::LeakyRelu, slope as f32),
        Activation::Silu => (Curve::Silu, 0.0),
        Activation::Softplus => (Curve::Softplus, 0.0),
        Activation::Tanh => (Curve::Tanh, 0.0),
    }
}

/// The function of a curve.
#[cube]
pub fn value(x: f32, slope: f32, #[comptime] curve: Curve) -> f32 {
    match curve {
        Curve::Identity => x,
        Curve::Relu => select(x <= 0.0, 0.0, x),
        Curve::LeakyRelu => select(x < 0.0, slope * x, x),
        Curve::Silu => x / (1.0 + exp(-x)),
        Curve::Softplus => {
            // ln(1 + e) = 2·artanh(s), a series that keeps its digits where e vanishes beside 1; s is at most 1/3.
            let e = exp(select(x <= 0.0, x, -x));
            let s = e / (2.0 + e);
            let square = s * s;
            let series = comptime!(1.0f32 / 15.0);
            let series = series * square + comptime!(1.0f32 / 13.0);
            let series = series * square + comptime!(1.0f32 / 11.0);
            let series = series * square + comptime!(1.0f32 / 9.0);
            let series = series * square + comptime!(1.0f32 / 7.0);
            let series = series * square + comptime!(1.0f32 / 5.0);
            let series = series * square + comptime!(1.0f32 / 3.0);
            let series = series * square + 1.0;
            select(x <= 0.0, 0.0, x) + 2.0 * s * series
        }
        Curve::Tanh => tanh(x),
    }
}

/// Its derivative.
#[cube]
pub fn slope_at(x: f32, slope: f32, #[comptime] curve: Curve) -> f32 {
    match curve {
        Curve::Identity => 1.0f32.runtime(),
        Curve::Relu => select(x <= 0.0, 0.0f32, 1.0f32),
        Curve::LeakyRelu => select(x < 0.0, slope, 1.0f32),
        Curve::Silu => {
            let sigmoid = 1.0 / (1.0 + exp(-x));
            sigmoid * (1.0 + x * (1.0 - sigmoid))
        }
        Curve::Softplus => 1.0 / (1.0 + exp(-x)),
        Curve::Tanh => {
            let value = tanh(x);
            1.0 - value * value
        }
    }
}

/// As on the processor.
#[cube]
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let series = comptime!(Tanh::SERIES[0]);
    let series = series * square + comptime!(Tanh::SERIES[1]);
    let series = series * square + comptime!(Tanh::SERIES[2]);
    let series = series * square + comptime!(Tanh::SERIES[3]);
    let series = series * square + comptime!(Tanh::SERIES[4]);
    select(square < comptime!(Tanh::NEAR), x + x * square * series, 1.0 - 2.0 / (exp(2.0 * x) + 1.0))
}

/// e^x, and not above 1e38: what infinity does is for a card to choose.
#[cube]
fn exp(x: f32) -> f32 {
    select(x > 87.0, 87.0f32, x).exp()
}
