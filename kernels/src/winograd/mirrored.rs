//! Back through a convolution with a mirrored border of one pixel: what the border passes on to the pixels that stand there.
//!
//! The row above an image is its second one, and passes its gradient on to that: the first row of the gradient by the kernels'
//! first row of taps, by which the third row reaches it too. So the first row is added to the third, in the tile above only,
//! where nothing but the second row reads it; and so at the lower border. Tiles are wider than high, so columns cannot go with
//! them: what the two outermost ones pass on is a convolution of these alone, by one column of taps.

use pulp::Arch;

use super::TAPS;
use super::forward::{self, STEPS};
use super::straight::{self, Beyond};
use crate::conv::{self, After};
use crate::geometry::{Border, Geometry, Weights};
use crate::simd::lanes;

/// The convolution from the gradient of the output to that of the input, but for the border.
fn turned(geometry: &Geometry) -> Geometry {
    Geometry { inputs: geometry.outputs, outputs: geometry.inputs, border: Border::Zero, ..*geometry }
}

/// Whether the gradient of the input is computed this way.
pub fn suits(arch: Arch, geometry: &Geometry) -> bool {
    let (Geometry { size: [height, _], padding, border, .. }, turned) = (*geometry, turned(geometry));
    // Rows of tiles of which the first and the last are not the same, and whole.
    let has_tiles = height.is_multiple_of(STEPS[0]) && height >= 2 * STEPS[0];
    let is_mirrored = border == Border::Reflect && padding == [1, 1];
    is_mirrored && has_tiles && forward::suits(&turned) && straight::suits(&turned, lanes(arch))
}

/// The gradient of the input, `[batch, inputs, height, width]`, from that of the output, `[batch, outputs, height, width]`, and the
/// kernels, `[outputs, inputs, 3, 3]`; with a bias of each channel, where there is one.
pub fn input_gradient(
    arch: Arch,
    geometry: &Geometry,
    gradient: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let after = After { bias, ..After::default() };
    let turned_round = Weights::TurnedRound(weights);
    let mut values = forward::convolved(arch, &turned(geometry), gradient, turned_round, after, Beyond::Folded);
    let Geometry { inputs, outputs, size: [height, width], .. } = *geometry;
    // A column of all images, one after another, each with the rows above and below it.
    let (tall, line) = (height + 2, geometry.batch * (height + 2));
    let columns = Geometry {
        batch: 1,
        inputs: outputs,
        outputs: inputs,
        size: [1, line],
        kernel: [1, TAPS],
        padding: [0, 1],
        border: Border::Zero,
        ..*geometry
    };
    let kernels = weights.as_chunks::<{ TAPS * TAPS }>().0;
    // The column, the column of taps by which it reaches the border, and the pixel that stands there.
    for (from, tap, to) in [(0, 0, 1), (width - 1, TAPS - 1, width - 2)] {
        let mut column = vec![0.0; outputs * line];
        for (plane, values) in gradient.chunks_exact(height * width).enumerate() {
            let (image, output) = (plane / outputs, plane % outputs);
            let column = &mut column[output * line + image * tall + 1..];
            for (value, row) in column.iter_mut().zip(values.chunks_exact(width)) {
                *value = row[from];
            }
        }
        let mut taps = vec![0.0; inputs * outputs * TAPS];
        for (place, kernel) in kernels.iter().enumerate() {
            let (output, input) = (place / inputs, place % inputs);
            let taps = &mut taps[(input * outputs + output) * TAPS..][..TAPS];
            for y in 0..TAPS {
                taps[TAPS - 1 - y] = kernel[TAPS * y + tap];
            }
        }
        let column = conv::forward(arch, &columns, &column, Weights::Plain(&taps), After::default());
        for (plane, values) in values.chunks_exact_mut(height * width).enumerate() {
            let (image, input) = (plane / inputs, plane % inputs);
            for (row, value) in column[input * line + image * tall..][..tall].iter().enumerate() {
                let row = Border::Reflect.place(row, 1, height).expect("a mirrored border has an origin");
                values[row * width + to] += value;
            }
        }
    }
    values
}
