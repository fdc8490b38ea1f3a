//! Files that were damaged at random: read or refused, never a panic, and no memory for what a header merely claims.

use super::super::{ImageSource, Window};
use super::*;
use crate::hostile::{Damages, peak_bytes, read_damaged, seeds};
use std::fs;

/// More than any damaged file of a few kilobytes may take.
const MOST_BYTES: usize = 64 << 20;

/// Reads bytes in all ways; tells whether one succeeded.
fn read_in_all_ways(bytes: &[u8], path: &Path) -> bool {
    let mut is_read = false;
    for page in [None, Some(2)] {
        for intensity in [Intensity::Full, Intensity::Automatic] {
            is_read |= read_bytes(path, bytes.to_vec(), &ReadOptions { page, intensity }).is_ok();
        }
    }
    fs::write(path, bytes).unwrap();
    for page in [None, Some(1)] {
        let Ok(source) = ImageSource::open(path, page) else { continue };
        let (height, width) = (source.height(), source.width());
        let last = |length: usize| length.saturating_sub(9)..length;
        for window in [
            Window { rows: 0..height.min(9), columns: 0..width.min(9) },
            Window { rows: last(height), columns: last(width) },
        ] {
            is_read |= source.samples(&window).is_ok();
        }
    }
    is_read
}

/// Makes the checksums of a PNG right, which else refuse every damage before it comes to a decoder.
fn mend_checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while bytes.starts_with(b"\x89PNG") && at + 12 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let Some(place) = bytes.get_mut(at + 4..).and_then(|rest| rest.get_mut(..length.checked_add(8)?)) else {
            return;
        };
        let (content, checksum) = place.split_at_mut(length + 4);
        let mut sum = flate2::Crc::new();
        sum.update(content);
        checksum.copy_from_slice(&sum.sum().to_be_bytes());
        at += length + 12;
    }
}

/// Reads so many damaged seeds; how many were read all the same.
fn try_damaged(inputs: usize, seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let damage = |whole: &[u8], damages: &mut Damages| {
        let mut bytes = damages.damage(whole);
        mend_checksums(&mut bytes);
        bytes
    };
    let is_read = |bytes: &[u8]| read_in_all_ways(bytes, &dir.path().join("damaged"));
    read_damaged("images", (inputs, seed), MOST_BYTES, damage, is_read)
}

#[test]
fn undamaged_seeds_are_read() {
    let dir = tempfile::tempdir().unwrap();
    // NumPy arrays whose columns come before their rows are refused, whole as they are.
    for (path, bytes) in seeds("images").into_iter().filter(|(path, _)| !path.ends_with("fortran.npy")) {
        assert!(read_in_all_ways(&bytes, &dir.path().join("whole")), "{}", path.display());
    }
}

#[test]
fn files_that_were_damaged_anywhere_are_read_or_refused_without_a_panic() {
    let read = try_damaged(3_000, 1);
    // Changes that do no harm are among them: the files are not refused at their first byte.
    assert!(read > 300, "{read}");
}

#[test]
#[ignore = "takes minutes; see docs/fuzzing.md"]
fn a_million_damaged_files_are_read_or_refused_without_a_panic() {
    let read = try_damaged(1_000_000, 2);
    println!("{read} of 1000000 damaged images were read all the same");
    assert!(read > 100_000, "{read}");
}

#[test]
fn a_header_that_claims_more_than_its_file_can_hold_takes_no_memory() {
    for (path, mut bytes) in seeds("images") {
        let size_at = match path.file_name().unwrap().to_str().unwrap() {
            "grey.png" | "sixteen.png" => 16..24,
            "grey.jpg" | "progressive.jpg" => {
                let frame = bytes.windows(2).position(|marker| matches!(marker, [0xff, 0xc0 | 0xc2])).unwrap();
                frame + 5..frame + 9
            }
            _ => continue,
        };
        // 16 000 x 16 000 pixels.
        let side = 16_000u32.to_be_bytes();
        let side = &side[4 - size_at.len() / 2..];
        bytes[size_at].copy_from_slice(&[side, side].concat());
        mend_checksums(&mut bytes);
        let options = ReadOptions::default();
        let (error, peak) = peak_bytes(|| read_bytes(&path, bytes.clone(), &options).unwrap_err().to_string());
        assert!(error.contains("claims a larger image than the file can hold"), "{error}");
        assert!(peak < 1 << 20, "{}: {peak} bytes", path.display());
    }
}
