//! Colours that readers with any colour vision can tell apart on grey.

/// Red, green and blue.
pub(super) type Colour = [u8; 3];

/// Magenta and yellow differ in lightness and along the axis that red-green blindness leaves.
pub(super) const LOST: Colour = [255, 45, 149];
/// The other colour of outlines.
pub(super) const INVENTED: Colour = [255, 225, 0];
/// The hatching of pixels of which nothing is known.
pub(super) const IGNORED: Colour = [150, 150, 150];

pub(super) use crate::figures::class_colour as of_class;

/// The colour and opacity of a doubt in [0, 1], which is 1 - confidence. From one half on, nothing shines through.
pub(super) fn of_doubt(doubt: f64) -> [u8; 4] {
    let colour = colorous::PLASMA.eval_continuous(doubt);
    [colour.r, colour.g, colour.b, (510.0 * doubt).min(255.0).round() as u8]
}
