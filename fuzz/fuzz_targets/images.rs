//! Any bytes as an image file: read or refused, whole and in windows, without a panic and without memory for what its
//! header merely claims.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use synlabel_fuzz::imaging::{self, ImageSource, Intensity, ReadOptions, Window};
use synlabel_fuzz::{Scratch, let_panics_be_caught};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    for (page, intensity) in [(None, Intensity::Automatic), (Some(2), Intensity::Full)] {
        let _ = imaging::read_bytes(Path::new("fuzz"), bytes.to_vec(), &ReadOptions { page, intensity });
    }
    if let Ok(source) = ImageSource::open(SCRATCH.with(bytes), Some(1)) {
        let last = |length: usize| length.saturating_sub(9)..length;
        let _ = source.samples(&Window { rows: last(source.height()), columns: last(source.width()) });
    }
});
