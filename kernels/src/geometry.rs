//! The sizes of a convolution, and its kernels.

use std::borrow::Cow;

use super::team::made_of_chunks;

/// What lies around an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Zeros.
    Zero,
    /// The image mirrored, without its outermost pixels once more.
    Reflect,
}

impl Border {
    /// The pixel of a line of `length` that stands at `place`, counted from the start of the padding; none for zeros.
    #[inline]
    pub fn place(self, place: usize, padding: usize, length: usize) -> Option<usize> {
        let inside = place.wrapping_sub(padding);
        if inside < length {
            return Some(inside);
        }
        match self {
            Self::Zero => None,
            Self::Reflect if place < padding => Some(padding - place),
            // Beyond the mirrored pixels nothing is asked for; any pixel will do there.
            Self::Reflect => Some((2 * (length - 1)).saturating_sub(inside)),
        }
    }
}

/// The sizes of a convolution from `[batch, inputs, height, width]` to `[batch, outputs, ..]`, without dilation or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Height and width in.
    pub size: [usize; 2],
    /// Height and width of the kernels.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Rows and columns around the image.
    pub padding: [usize; 2],
    /// What stands there.
    pub border: Border,
}

impl Geometry {
    /// Height and width out.
    pub fn size_out(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.size[axis] + 2 * self.padding[axis] - self.kernel[axis]) / self.stride[axis] + 1)
    }

    /// Whether the kernels are written for it: something in, something out, and no border wider than a kernel reaches.
    pub fn is_usual(&self) -> bool {
        let axes = [0, 1].map(|axis| {
            let (size, kernel, padding) = (self.size[axis], self.kernel[axis], self.padding[axis]);
            let mirrors = self.border == Border::Zero || padding < size;
            size > 0 && size + 2 * padding >= kernel && padding < kernel && mirrors
        });
        let strided = self.stride != [1, 1];
        axes == [true, true]
            && self.batch > 0
            && self.inputs > 0
            && self.outputs > 0
            && !(self.border == Border::Reflect && strided)
    }

    /// Taps of a kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Pixels of an input plane.
    pub fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Pixels of an output plane.
    pub fn area_out(&self) -> usize {
        self.size_out().iter().product()
    }
}

/// The kernels of a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// `[outputs, inputs, kernel..]`
    Plain(&'a [f32]),
    /// `[inputs, outputs, kernel..]`, each kernel's last tap first: how gradients of outputs become those of inputs.
    TurnedRound(&'a [f32]),
}

impl<'a> Weights<'a> {
    /// The numbers as they stand.
    pub fn values(self) -> &'a [f32] {
        match self {
            Self::Plain(values) | Self::TurnedRound(values) => values,
        }
    }

    /// `[outputs, inputs, kernel..]`
    pub fn plain(self, geometry: &Geometry) -> Cow<'a, [f32]> {
        let Self::TurnedRound(values) = self else { return self.values().into() };
        let Geometry { inputs, outputs, .. } = *geometry;
        let taps = geometry.taps();
        let fill = |block: usize, plain: &mut [f32]| {
            let (first, of_input) = (block * OUTPUTS_AT_ONCE * taps, plain.len() / inputs);
            for (input, kernels) in values.chunks_exact(outputs * taps).enumerate() {
                let places = plain[input * taps..].chunks_mut(inputs * taps);
                for (to, kernel) in places.zip(kernels[first..][..of_input].chunks_exact(taps)) {
                    turn_round(kernel, &mut to[..taps]);
                }
            }
        };
        // SAFETY: a block is the kernels of all inputs.
        let plain = unsafe { made_of_chunks(values.len(), OUTPUTS_AT_ONCE * inputs * taps, fill) };
        plain.into()
    }
}

/// Outputs whose kernels of one input are read together, since they lie in the same lines of the caches.
const OUTPUTS_AT_ONCE: usize = 8;

/// The last tap first.
#[inline]
fn turn_round(kernel: &[f32], turned: &mut [f32]) {
    // The usual kernel without a loop.
    if let (Ok(kernel), Ok(turned)) = (<&[f32; 9]>::try_from(kernel), <&mut [f32; 9]>::try_from(&mut *turned)) {
        for i in 0..9 {
            turned[i] = kernel[8 - i];
        }
        return;
    }
    for (to, value) in turned.iter_mut().zip(kernel.iter().rev()) {
        *to = *value;
    }
}
