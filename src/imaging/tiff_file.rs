//! TIFF files (TIFF 6.0, BigTIFF, OME-TIFF, the stacks of ImageJ): pages, read strip by strip or tile by tile, and
//! directories to write.
//!
//! The `tiff` crate is not used: it takes lists of more than a megabyte (an image of 50 000 x 50 000 pixels in small
//! tiles has such) for an attack, knows no palettes, and holds a strip as a whole, where ImageJ writes one strip for
//! the whole image. The compression itself is done by crates.

mod chunks;
mod compression;
mod directory;
mod page;
mod pages;
mod pixel_size;
mod predictor;
mod tags;
mod writer;

pub(super) use chunks::Chunk;
pub(super) use directory::TiffFile;
pub(super) use page::{Geometry, Page};
pub(super) use pages::{checked as checked_page, choose};
pub(super) use pixel_size::{PixelSize, is_default_resolution};
pub(super) use writer::{Layout, TiffWriter, can_be_stored};

/// Tags by their numbers (TIFF 6.0, appendix A).
mod tag {
    pub(super) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(super) const SUBFILE_TYPE: u16 = 255;
    pub(super) const IMAGE_WIDTH: u16 = 256;
    pub(super) const IMAGE_LENGTH: u16 = 257;
    pub(super) const BITS_PER_SAMPLE: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const IMAGE_DESCRIPTION: u16 = 270;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(super) const X_RESOLUTION: u16 = 282;
    pub(super) const Y_RESOLUTION: u16 = 283;
    pub(super) const PLANAR_CONFIGURATION: u16 = 284;
    pub(super) const RESOLUTION_UNIT: u16 = 296;
    pub(super) const SOFTWARE: u16 = 305;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const COLOR_MAP: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_LENGTH: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const JPEG_TABLES: u16 = 347;
}
