//! Pictures as data URIs, small enough that hundreds fit in a page.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use super::overlays::{Indexed, paint};
use super::{Overlay, Picture};
use crate::imaging::{Plane, resize};

/// Pictures with a longer side than this are reduced to it.
pub(super) const LONGEST_SIDE: usize = 720;
const JPEG_QUALITY: u8 = 85;

/// A picture as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct EmbeddedPicture<'a> {
    caption: &'a str,
    height: usize,
    width: usize,
    grey: String,
    overlay: Option<EmbeddedOverlay>,
}

#[derive(Debug, Serialize)]
struct EmbeddedOverlay {
    kind: &'static str,
    uri: String,
}

impl<'a> EmbeddedPicture<'a> {
    /// Reduces and encodes a picture.
    ///
    /// # Panics
    /// When the overlay has not the size of the image, or the image no pixels.
    pub(super) fn of(picture: &'a Picture) -> Self {
        let old = [picture.grey.height(), picture.grey.width()];
        let new = shown_size(old);
        let grey =
            if new == old { Cow::Borrowed(&picture.grey) } else { Cow::Owned(resize(&picture.grey, new[0], new[1])) };
        let overlay = picture.overlay.as_ref().map(|overlay| EmbeddedOverlay {
            kind: kind(overlay),
            uri: data_uri("image/png", &indexed_png(&paint(overlay, old, new))),
        });
        Self { caption: &picture.caption, height: new[0], width: new[1], grey: grey_uri(&grey), overlay }
    }
}

/// What the page calls an overlay.
fn kind(overlay: &Overlay) -> &'static str {
    match overlay {
        Overlay::Labels(_) => "labels",
        Overlay::Outlines { .. } => "outlines",
        Overlay::Heat(_) => "heat",
    }
}

/// The bytes of a file as an address that holds them.
pub(super) fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

/// Height and width of an image in the page; the longer side is [`LONGEST_SIDE`] at most.
pub(super) fn shown_size(size: [usize; 2]) -> [usize; 2] {
    let longest = size[0].max(size[1]);
    if longest <= LONGEST_SIDE {
        return size;
    }
    size.map(|side| ((side * LONGEST_SIDE + longest / 2) / longest).max(1))
}

/// JPEG or PNG, whichever is smaller: photographs and drawings.
fn grey_uri(plane: &Plane) -> String {
    let samples: Vec<u8> = plane.pixels().iter().map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    let (width, height) = (plane.width() as u32, plane.height() as u32);
    let (mut jpeg, mut png) = (Vec::new(), Vec::new());
    let encoded = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode(&samples, width, height, ExtendedColorType::L8)
        .and_then(|()| {
            PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive).write_image(
                &samples,
                width,
                height,
                ExtendedColorType::L8,
            )
        });
    encoded.expect("writing an image of the right size to memory cannot fail");
    if jpeg.len() < png.len() { data_uri("image/jpeg", &jpeg) } else { data_uri("image/png", &png) }
}

/// A PNG file with as few bits for each pixel as the palette allows.
pub(super) fn indexed_png(picture: &Indexed) -> Vec<u8> {
    let (depth, bits) = match picture.palette.len() {
        ..=2 => (png::BitDepth::One, 1),
        3..=4 => (png::BitDepth::Two, 2),
        5..=16 => (png::BitDepth::Four, 4),
        _ => (png::BitDepth::Eight, 8),
    };
    let [height, width] = picture.size;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(depth);
    encoder.set_palette(picture.palette.iter().flat_map(|colour| colour[..3].to_vec()).collect::<Vec<u8>>());
    encoder.set_trns(picture.palette.iter().map(|colour| colour[3]).collect::<Vec<u8>>());
    encoder.set_compression(png::Compression::High);
    // Differences of palette indices mean nothing.
    encoder.set_filter(png::Filter::NoFilter);
    let rows = picture.indices.chunks(width).flat_map(|row| packed(row, bits)).collect::<Vec<u8>>();
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&rows))
        .expect("writing an image of the right size to memory cannot fail");
    bytes
}

/// A row of indices of `bits` bits each, the first in the highest bits of the first byte.
fn packed(row: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    row.chunks(8 / bits)
        .map(move |indices| indices.iter().enumerate().fold(0, |byte, (i, index)| byte | index << (8 - bits * (i + 1))))
}
