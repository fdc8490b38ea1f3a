//! The transforms of Winograd's algorithms in one dimension, for kernels of three taps.

use pulp::Simd;

/// F(2, 3): two pixels by four products.
pub mod short {
    use super::Simd;

    /// Pixels of an output, and numbers of an input and of a transform.
    pub const STEP: usize = 2;
    pub const SIDE: usize = 4;

    /// Bᵀ of an input.
    #[inline(always)]
    pub fn of_input<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
        [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
    }

    /// Aᵀ of products.
    #[inline(always)]
    pub fn to_output<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
    }

    /// A of an output: back through [`to_output`].
    #[inline(always)]
    pub fn of_output<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
        [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
    }

    /// G of a kernel.
    #[inline(always)]
    pub fn of_kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
        let half = simd.splat_f32s(0.5);
        let (outer, inner) = (simd.mul_f32s(half, simd.add_f32s(a, c)), simd.mul_f32s(half, b));
        [a, simd.add_f32s(outer, inner), simd.sub_f32s(outer, inner), c]
    }

    /// Gᵀ of frequencies: back through [`of_kernel`].
    #[inline(always)]
    pub fn to_kernel<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
        let half = simd.splat_f32s(0.5);
        let (sum, difference) = (simd.mul_f32s(half, simd.add_f32s(b, c)), simd.mul_f32s(half, simd.sub_f32s(b, c)));
        [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
    }
}

/// F(4, 3): four pixels by six products, with the points 0, ±[`NEAR`], ±[`FAR`] and infinity: with the usual 0, ±1, ±2 more digits
/// would be lost.
pub mod long {
    use super::Simd;

    /// Pixels of an output, and numbers of an input and of a transform.
    pub const STEP: usize = 4;
    pub const SIDE: usize = 6;

    /// The points, at either sign: binary fractions, so that no factor is rounded.
    const NEAR: f32 = 0.75;
    const FAR: f32 = 1.5;
    /// Their squares, whose product and sum are the factors of zero and infinity.
    const NEAR_SQUARED: f32 = NEAR * NEAR;
    const FAR_SQUARED: f32 = FAR * FAR;
    const PRODUCT: f32 = NEAR_SQUARED * FAR_SQUARED;
    const SUM: f32 = NEAR_SQUARED + FAR_SQUARED;

    /// What the polynomials of [`of_input`] are at their points, inverted.
    const SHARES: [f32; 3] = [
        1.0 / PRODUCT,
        0.5 / (NEAR_SQUARED * (NEAR_SQUARED - FAR_SQUARED)),
        0.5 / (FAR_SQUARED * (FAR_SQUARED - NEAR_SQUARED)),
    ];

    /// Bᵀ of an input: of each point the polynomial that is zero at all others.
    #[inline(always)]
    pub fn of_input<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
        let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
        let (near_squared, far_squared) = (simd.splat_f32s(-NEAR_SQUARED), simd.splat_f32s(-FAR_SQUARED));
        let (product, sum) = (simd.splat_f32s(PRODUCT), simd.splat_f32s(-SUM));
        let (even, odd) = (simd.mul_add_e_f32s(far_squared, c, e), simd.mul_add_e_f32s(far_squared, b, d));
        let (even_far, odd_far) = (simd.mul_add_e_f32s(near_squared, c, e), simd.mul_add_e_f32s(near_squared, b, d));
        [
            simd.mul_add_e_f32s(product, a, simd.mul_add_e_f32s(sum, c, e)),
            simd.mul_add_e_f32s(near, odd, even),
            simd.mul_add_e_f32s(simd.neg_f32s(near), odd, even),
            simd.mul_add_e_f32s(far, odd_far, even_far),
            simd.mul_add_e_f32s(simd.neg_f32s(far), odd_far, even_far),
            simd.mul_add_e_f32s(product, b, simd.mul_add_e_f32s(sum, d, f)),
        ]
    }

    /// Aᵀ of products: the powers of the points.
    #[inline(always)]
    pub fn to_output<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 4] {
        let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
        let (sum_far, difference_far) = (simd.add_f32s(d, e), simd.sub_f32s(d, e));
        let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
        let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
        let (near_cubed, far_cubed) = (simd.splat_f32s(NEAR * NEAR_SQUARED), simd.splat_f32s(FAR * FAR_SQUARED));
        [
            simd.add_f32s(a, simd.add_f32s(sum, sum_far)),
            simd.mul_add_e_f32s(near, difference, simd.mul_f32s(far, difference_far)),
            simd.mul_add_e_f32s(near_squared, sum, simd.mul_f32s(far_squared, sum_far)),
            simd.mul_add_e_f32s(near_cubed, difference, simd.mul_add_e_f32s(far_cubed, difference_far, f)),
        ]
    }

    /// A of an output: back through [`to_output`].
    #[inline(always)]
    pub fn of_output<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 6] {
        let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
        let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
        let (even, odd) = (simd.mul_add_e_f32s(near_squared, c, a), simd.mul_add_e_f32s(near_squared, d, b));
        let (even_far, odd_far) = (simd.mul_add_e_f32s(far_squared, c, a), simd.mul_add_e_f32s(far_squared, d, b));
        [
            a,
            simd.mul_add_e_f32s(near, odd, even),
            simd.mul_add_e_f32s(simd.neg_f32s(near), odd, even),
            simd.mul_add_e_f32s(far, odd_far, even_far),
            simd.mul_add_e_f32s(simd.neg_f32s(far), odd_far, even_far),
            d,
        ]
    }

    /// G of a kernel: its values at the points.
    #[inline(always)]
    pub fn of_kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 6] {
        let (of_zero, of_near, of_far) =
            (simd.splat_f32s(SHARES[0]), simd.splat_f32s(SHARES[1]), simd.splat_f32s(SHARES[2]));
        let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
        let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
        let even = simd.mul_f32s(of_near, simd.mul_add_e_f32s(near_squared, c, a));
        let even_far = simd.mul_f32s(of_far, simd.mul_add_e_f32s(far_squared, c, a));
        let (odd, odd_far) =
            (simd.mul_f32s(of_near, simd.mul_f32s(near, b)), simd.mul_f32s(of_far, simd.mul_f32s(far, b)));
        [
            simd.mul_f32s(of_zero, a),
            simd.add_f32s(even, odd),
            simd.sub_f32s(even, odd),
            simd.add_f32s(even_far, odd_far),
            simd.sub_f32s(even_far, odd_far),
            c,
        ]
    }

    /// Gᵀ of frequencies: back through [`of_kernel`].
    #[inline(always)]
    pub fn to_kernel<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 3] {
        let (of_zero, of_near, of_far) =
            (simd.splat_f32s(SHARES[0]), simd.splat_f32s(SHARES[1]), simd.splat_f32s(SHARES[2]));
        let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
        let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
        let (sum, difference) =
            (simd.mul_f32s(of_near, simd.add_f32s(b, c)), simd.mul_f32s(of_near, simd.sub_f32s(b, c)));
        let (sum_far, difference_far) =
            (simd.mul_f32s(of_far, simd.add_f32s(d, e)), simd.mul_f32s(of_far, simd.sub_f32s(d, e)));
        [
            simd.mul_add_e_f32s(of_zero, a, simd.add_f32s(sum, sum_far)),
            simd.mul_add_e_f32s(near, difference, simd.mul_f32s(far, difference_far)),
            simd.mul_add_e_f32s(near_squared, sum, simd.mul_add_e_f32s(far_squared, sum_far, f)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::{long, short};

    /// Each with its counterpart, summed up.
    fn product<const N: usize>(a: [f32; N], b: [f32; N]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn short_lines_are_convolved() {
        let (simd, input, kernel) = (Scalar::new(), [1.0, 2.0, 4.0, -3.0], [3.0, -1.0, 2.0]);
        let (input, kernel) = (short::of_input(simd, input), short::of_kernel(simd, kernel));
        let products = [0, 1, 2, 3].map(|i| input[i] * kernel[i]);
        // 3·1 − 2 + 2·4 and 3·2 − 4 − 2·3.
        assert_eq!(short::to_output(simd, products), [9.0, -4.0]);
    }

    #[test]
    fn long_lines_are_convolved() {
        let (simd, input, kernel) = (Scalar::new(), [1.0, 2.0, 4.0, -3.0, 5.0, 0.5], [3.0, -1.0, 2.0]);
        let (input, kernel) = (long::of_input(simd, input), long::of_kernel(simd, kernel));
        let products = [0, 1, 2, 3, 4, 5].map(|i| input[i] * kernel[i]);
        let output = long::to_output(simd, products);
        for (value, expected) in output.into_iter().zip([9.0, -4.0, 25.0, -13.0]) {
            assert!((value - expected).abs() < 1e-5, "{output:?}");
        }
    }

    #[test]
    fn ways_back_are_transposed() {
        let simd = Scalar::new();
        let (output, products) = ([2.0, -3.0], [1.0, -2.0, 0.5, 4.0]);
        assert_eq!(
            product(short::of_output(simd, output), products),
            product(output, short::to_output(simd, products))
        );
        let kernel = [1.5, -2.0, 7.0];
        assert_eq!(
            product(short::of_kernel(simd, kernel), products),
            product(kernel, short::to_kernel(simd, products))
        );
        let (output, products) = ([2.0, -3.0, 1.0, 0.25], [1.0, -2.0, 0.5, 4.0, -1.0, 3.0]);
        let back = [
            [product(long::of_output(simd, output), products), product(output, long::to_output(simd, products))],
            [product(long::of_kernel(simd, kernel), products), product(kernel, long::to_kernel(simd, products))],
        ];
        for [forth, back] in back {
            assert!((forth - back).abs() < 1e-4, "{forth} is not {back}");
        }
    }
}
