//! The activations and their slopes, written so that a loop over them becomes vectors.

/// What follows a norm or stands alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// x where it is at least 0, and this much of it below.
    LeakyRelu(f64),
    /// x/(1 + e^−x).
    Silu,
    /// ln(1 + e^x).
    Softplus,
    /// (e^x − e^−x)/(e^x + e^−x).
    Tanh,
}

/// Does work that is compiled for each curve, with that of an activation.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $work:expr) => {
        match $activation {
            $crate::curve::Activation::Identity => {
                let $curve = $crate::curve::Identity;
                $work
            }
            $crate::curve::Activation::Relu => {
                let $curve = $crate::curve::Relu;
                $work
            }
            $crate::curve::Activation::LeakyRelu(slope) => {
                let $curve = $crate::curve::Leaky(slope as f32);
                $work
            }
            $crate::curve::Activation::Silu => {
                let $curve = $crate::curve::Silu;
                $work
            }
            $crate::curve::Activation::Softplus => {
                let $curve = $crate::curve::Softplus;
                $work
            }
            $crate::curve::Activation::Tanh => {
                let $curve = $crate::curve::Tanh;
                $work
            }
        }
    };
}
pub(crate) use with_curve;

/// A function of one number and its slope.
pub trait Curve: Copy + Send + Sync {
    /// The function.
    fn value(self, x: f32) -> f32;
    /// Its derivative.
    fn slope(self, x: f32) -> f32;
}

#[derive(Debug, Clone, Copy)]
pub struct Identity;

impl Curve for Identity {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn slope(self, _: f32) -> f32 {
        1.0
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Curve for Relu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        // Unlike `max`, this keeps what is not a number, so that a broken loss is seen.
        if x <= 0.0 { 0.0 } else { x }
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        if x <= 0.0 { 0.0 } else { 1.0 }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Leaky(pub f32);

impl Curve for Leaky {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        if x < 0.0 { self.0 * x } else { x }
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        if x < 0.0 { self.0 } else { 1.0 }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Silu;

impl Curve for Silu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let sigmoid = 1.0 / (1.0 + exp(-x));
        sigmoid * (1.0 + x * (1.0 - sigmoid))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Softplus;

impl Curve for Softplus {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        let positive = if x <= 0.0 { 0.0 } else { x };
        // ln(1 + e) = 2·artanh(s), a series that keeps its digits where e vanishes beside 1; s is at most 1/3.
        let e = exp(if x <= 0.0 { x } else { -x });
        let s = e / (2.0 + e);
        let square = s * s;
        let mut series = 1.0 / 15.0;
        for odd in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            series = series * square + 1.0 / odd;
        }
        positive + 2.0 * s * series
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        1.0 / (1.0 + exp(-x))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Tanh;

impl Curve for Tanh {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        let square = x * x;
        if square < Self::NEAR {
            let mut series = Self::SERIES[0];
            for coefficient in &Self::SERIES[1..] {
                series = series * square + coefficient;
            }
            return x + x * square * series;
        }
        1.0 - 2.0 / (exp(2.0 * x) + 1.0)
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let value = self.value(x);
        1.0 - value * value
    }
}

impl Tanh {
    /// The square of where the series ends, which keeps its digits near zero.
    pub const NEAR: f32 = 0.625 * 0.625;
    /// Of (tanh(x) − x)/x³ in x² (Cephes), the highest power first.
    pub const SERIES: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
}

/// e^x to two units in the last place, and not below 1e-38 or above 1e38.
///
/// x = n·ln 2 + r; e^r by its polynomial (Cephes), 2^n by the exponent's bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this leaves the nearest whole number in the lowest bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let bounded = if x > 87.0 { 87.0 } else { x };
    let bounded = if bounded < -87.0 { -87.0 } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = bounded - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (p * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_the_last_digits() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() < 2e-7 * exact, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e9) < 1e-37 && exp(1e9).is_finite());
    }

    #[test]
    fn slopes_are_those_of_the_values() {
        fn check(curve: impl Curve) {
            for x in [-3.0f32, -0.7, 0.2, 1.5, 6.0] {
                let difference = (curve.value(x + 0.01) - curve.value(x - 0.01)) / 0.02;
                assert!((difference - curve.slope(x)).abs() < 1e-3);
            }
        }
        check(Identity);
        check(Relu);
        check(Leaky(0.2));
        check(Silu);
        check(Softplus);
        check(Tanh);
    }

    #[test]
    fn the_hyperbolic_tangent_is_right_to_the_last_digits() {
        for i in -3000..3000 {
            let x = i as f32 * 0.004;
            let exact = f64::from(x).tanh();
            assert!((f64::from(Tanh.value(x)) - exact).abs() <= 3e-7 * exact.abs(), "{x}");
        }
        assert_eq!([1e-20, 1e9, -1e9].map(|x| Tanh.value(x)), [1e-20, 1.0, -1.0]);
        assert!(Tanh.value(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_keeps_its_digits_where_it_nearly_vanishes() {
        for x in [-80.0f32, -30.0, -17.5, -4.0, -0.1, 0.0, 0.1, 3.0, 19.0, 40.0, 1e30] {
            let exact = if x > 40.0 { f64::from(x) } else { f64::from(x).exp().ln_1p() };
            assert!((f64::from(Softplus.value(x)) - exact).abs() < 4e-7 * exact, "{x}");
        }
        assert!(Softplus.value(f32::NAN).is_nan());
    }
}
