//! Colours that readers with any colour vision can tell apart on grey.

/// Red, green and blue.
pub(super) type Colour = [u8; 3];

/// Magenta and yellow differ in lightness and along the axis that red-green blindness leaves.
pub(super) const LOST: Colour = [255, 45, 149];
/// The other colour of outlines.
pub(super) const INVENTED: Colour = [255, 225, 0];
/// The hatching of pixels of which nothing is known.
pub(super) const IGNORED: Colour = [150, 150, 150];

/// The palette of Okabe and Ito (2008) without black, in the order in which two or three of them are told apart best.
const CLASSES: [Colour; 7] =
    [[86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [0, 114, 178], [213, 94, 0]];

/// The colour of a class from 1 on; after seven they come again.
pub(super) fn of_class(class: usize) -> Colour {
    CLASSES[(class + CLASSES.len() - 1) % CLASSES.len()]
}

/// The colour and opacity of a doubt in [0, 1], which is 1 - confidence. From one half on, nothing shines through.
pub(super) fn of_doubt(doubt: f64) -> [u8; 4] {
    let colour = colorous::PLASMA.eval_continuous(doubt);
    [colour.r, colour.g, colour.b, (510.0 * doubt).min(255.0).round() as u8]
}
