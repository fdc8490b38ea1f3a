//! Any bytes as a file of weights, and as the pickle in a zip file of PyTorch: read or refused, without a panic and without
//! memory for what it merely claims.

#![no_main]

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use synlabel_fuzz::segmentation::nnunet_checkpoint::NnunetCheckpoint;
use synlabel_fuzz::weights::{read_pytorch, read_safetensors};
use synlabel_fuzz::{Scratch, let_panics_be_caught};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

/// A zip file as PyTorch writes it around a pickle, whose checksums are right.
fn zip_of(pickle: &[u8]) -> Vec<u8> {
    let storage = [0; 24];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("data.pkl", pickle), ("data/0", &storage), ("data/1", &storage)] {
        zip.start_file(format!("archive/{name}"), SimpleFileOptions::default()).expect("memory takes all");
        zip.write_all(content).expect("memory takes all");
    }
    zip.finish().expect("memory takes all").into_inner()
}

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let path = SCRATCH.with(bytes);
    let _ = read_safetensors(path);
    let _ = read_pytorch(path);
    let _ = NnunetCheckpoint::read(path);
    let path = SCRATCH.with(&zip_of(bytes));
    let _ = read_pytorch(path);
    let _ = NnunetCheckpoint::read(path);
});
