//! Files of weights that were damaged at random: read or refused, never a panic, and no memory for what they merely claim.

use std::fs;
use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::*;
use crate::hostile::{Damages, peak_bytes, read_damaged, seeds};
use crate::weights::{read_pytorch, read_safetensors};

/// The reader of pickles copies up to 64 MiB of what a pickle repeats, and holds each object in some hundred bytes.
const MOST_BYTES: usize = 512 << 20;

fn is_read(path: &Path) -> bool {
    // All are tried, whatever becomes of one.
    NnunetCheckpoint::read(path).is_ok() | read_pytorch(path).is_ok() | read_safetensors(path).is_ok()
}

/// The entries of a zip file, none for other files.
fn entries_of(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return Vec::new() };
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        entries.push((entry.name().unwrap().to_string(), content));
    }
    entries
}

/// A zip file of entries, whose checksums are right.
fn zip_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The file damaged; of an archive mostly one entry, since damage that a checksum shows comes to no pickle.
fn damaged(whole: &[u8], damages: &mut Damages) -> Vec<u8> {
    let mut entries = entries_of(whole);
    if entries.is_empty() || damages.below(8) == 0 {
        return damages.damage(whole);
    }
    let pickle = entries.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
    let index = if damages.below(4) == 0 { damages.below(entries.len()) } else { pickle };
    entries[index].1 = damages.damage(&entries[index].1);
    zip_of(&entries)
}

/// Reads so many damaged seeds; how many were read all the same.
fn try_damaged(inputs: usize, seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.pth");
    let is_read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        is_read(&path)
    };
    read_damaged("weights", (inputs, seed), MOST_BYTES, damaged, is_read)
}

#[test]
fn undamaged_seeds_are_read_by_the_reader_that_they_are_for() {
    let seeds = seeds("weights");
    let pth = |(path, _): &&(std::path::PathBuf, Vec<u8>)| path.extension().is_some_and(|name| name == "pth");
    assert_eq!(seeds.iter().filter(pth).count(), 6);
    for (path, _) in seeds.iter().filter(pth) {
        assert!(is_read(path), "{}", path.display());
    }
}

#[test]
fn weights_that_were_damaged_anywhere_are_read_or_refused_without_a_panic() {
    let read = try_damaged(3_000, 1);
    // Changes that do no harm are among them: the files are not refused at their first byte.
    assert!(read > 100, "{read}");
}

#[test]
#[ignore = "takes minutes; see docs/fuzzing.md"]
fn a_million_damaged_weights_are_read_or_refused_without_a_panic() {
    let read = try_damaged(1_000_000, 2);
    println!("{read} of 1000000 damaged files of weights were read all the same");
    assert!(read > 30_000, "{read}");
}

#[test]
fn a_hole_in_a_tar_archive_is_not_read_as_zeros() {
    // A file of GNU tar that holds nothing but the claim of a hole of 2^33 bytes.
    let mut header = vec![0; 1536];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, b"storages");
    put(100, b"0000644\0");
    put(124, b"00000000000\0");
    put(136, b"00000000000\0");
    put(156, b"S");
    put(257, b"ustar  \0");
    put(386, b"100000000000");
    put(398, b"00000000000\0");
    put(483, b"100000000000");
    put(148, b"        ");
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.pth");
    fs::write(&path, header).unwrap();
    let (error, peak) = peak_bytes(|| NnunetCheckpoint::read(&path).unwrap_err().to_string());
    assert!(error.contains("it is a tar archive") && peak < 1 << 20, "{error}: {peak} bytes");
    assert!(read_pytorch(&path).unwrap_err().to_string().contains("it is a tar archive"));
}

#[test]
fn a_number_that_is_repeated_without_end_is_refused_before_it_is_read() {
    let storage = 4u32.to_le_bytes();
    let id = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
    let place =
        [b"K\0(J".as_slice(), &400_000_000u32.to_le_bytes(), b"t(K\0t\x89ccollections\nOrderedDict\n)R"].concat();
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), id, &place, b"tR"].concat();
    let pickle = [b"\x80\x02}X\x01\0\0\0w".as_slice(), &tensor, b"s."].concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repeated.pth");
    let entries = [("a/data.pkl".to_string(), pickle), ("a/data/0".to_string(), storage.to_vec())];
    fs::write(&path, zip_of(&entries)).unwrap();
    let (error, peak) = peak_bytes(|| read_pytorch(&path).unwrap_err().to_string());
    assert!(error.contains("would take 1600000000 bytes; at most"), "{error}");
    assert!(peak < 1 << 20, "{peak} bytes");
}
