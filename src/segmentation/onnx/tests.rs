use std::convert::Infallible;
use std::path::PathBuf;

use super::*;
use crate::segmentation::bioimage::{Look, fit};

// The expected numbers are those of ONNX Runtime, printed by tools/make_onnx_fixtures.py, and those of the BioImage.IO
// reference program (bioimageio.core 0.11) for the described models.

/// The values 0 to 7 in two rows.
const IMAGE: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
const SIZE: [usize; 2] = [2, 4];

/// Stored grey values for the described models.
const GREY: [f32; 8] = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 200.0];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn open(name: &str) -> OnnxModel {
    OnnxModel::open(&fixture(name)).unwrap()
}

fn refusal(path: &Path) -> String {
    OnnxModel::open(path).unwrap_err().to_string()
}

/// The softmax over classes of logits `[classes, pixels]`.
fn softmax(logits: &[f32], classes: usize) -> Vec<f32> {
    let pixels = logits.len() / classes;
    let sum = |pixel: usize| (0..classes).map(|class| logits[class * pixels + pixel].exp()).sum::<f32>();
    logits.iter().enumerate().map(|(index, logit)| logit.exp() / sum(index % pixels)).collect()
}

fn prepared(model: &OnnxModel) -> Vec<f32> {
    let pass = |look: &mut Look<'_>| {
        GREY.iter().for_each(|value| look(*value, 1));
        Ok::<_, Infallible>(())
    };
    let steps = fit(model.preprocessing(), pass).unwrap();
    GREY.iter().map(|value| steps.iter().fold(*value, |value, step| step.apply(value))).collect()
}

fn assert_close(values: &[f32], expected: &[f32]) {
    assert_eq!(values.len(), expected.len());
    assert!(values.iter().zip(expected).all(|(v, e)| (v - e).abs() < 2e-6 * e.abs().max(1.0)), "{values:?}");
}

#[test]
fn a_network_that_ends_in_softmax_gives_logarithms_of_its_probabilities() {
    let model = open("softmax.onnx");
    assert_eq!((model.classes(), model.patch_size(), model.class_names()), (3, [256, 256], None));
    let logits = model.logits(&IMAGE, SIZE).unwrap();
    let probabilities: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
    let expected = [
        0.20983182,
        0.3459542,
        0.38365173,
        0.5282521,
        0.9354785,
        0.598638,
        0.6037489,
        0.6204328,
        0.3459542,
        0.20983182,
        0.23269655,
        0.3204011,
        0.028249003,
        0.3630923,
        0.36619222,
        0.3763115,
        0.444214,
        0.444214,
        0.38365173,
        0.15134677,
        0.036272436,
        0.038269646,
        0.030058887,
        0.003255733,
    ];
    assert_close(&probabilities, &expected);
}

#[test]
fn logits_of_a_network_of_fixed_size_are_passed_on_and_other_sizes_refused() {
    let model = open("fixed.onnx");
    assert_eq!((model.classes(), model.patch_size()), (3, [2, 4]));
    let itself = IMAGE;
    let left = [0.5, 0.5, 1.5, 2.5, 0.5, 4.5, 5.5, 6.5];
    let around = [0.75, 1.25, 2.0, 1.75, 0.75, 2.25, 3.0, 1.75];
    assert_eq!(model.logits(&IMAGE, SIZE).unwrap(), [itself, left, around].concat());
    let error = model.logits(&IMAGE, [4, 2]).unwrap_err().to_string();
    assert!(error.contains("a side of 4 pixels, only 2"), "{error}");
}

#[test]
fn one_probability_makes_two_classes() {
    let model = open("sigmoid.onnx");
    assert_eq!(model.classes(), 2);
    let expected = [0.5, 0.5, 0.56217647, 0.6224593, 0.5, 0.7310586, 0.7772999, 0.81757444];
    let probabilities = softmax(&model.logits(&IMAGE, SIZE).unwrap(), 2);
    assert_close(&probabilities[8..], &expected);
    let background: Vec<f32> = expected.iter().map(|p| 1.0 - p).collect();
    assert_close(&probabilities[..8], &background);
}

#[test]
fn a_network_that_halves_and_doubles_works_at_several_sizes() {
    let model = open("unet.onnx");
    let logits = model.logits(&IMAGE, SIZE).unwrap();
    let expected = [
        2.3951807, 2.6175249, 5.2455597, 5.7425923, 2.839869, 3.2567701, 6.540653, 7.146353, 6.0412283, 6.623687,
        13.28743, 14.586714, 7.43091, 9.418226, 18.480045, 20.754734,
    ];
    assert_close(&logits, &expected);
    assert_eq!(model.logits(&[1.0; 24], [6, 4]).unwrap().len(), 2 * 24);
    assert_eq!(model.logits(&IMAGE, SIZE).unwrap(), logits);
    let error = model.logits(&[1.0; 15], [3, 5]).unwrap_err().to_string();
    assert!(error.contains("3 x 5"), "{error}");
}

#[test]
fn a_described_model_with_channels_last_is_prepared_and_read_as_described() {
    let model = open("bioimage_0_4");
    assert_eq!((model.classes(), model.patch_size()), (3, SIZE));
    let probabilities = softmax(&model.logits(&prepared(&model), SIZE).unwrap(), 3);
    // The reference program's answer has the channels last.
    let expected = [
        0.16125222, 0.6479675, 0.19078036, 0.30808723, 0.42505085, 0.2668619, 0.31171122, 0.43005067, 0.25823808,
        0.26360813, 0.3636855, 0.37270635, 0.28165972, 0.5549477, 0.16339262, 0.34635785, 0.4778507, 0.17579146,
        0.31171122, 0.43005067, 0.25823808, 0.8260941, 0.13434951, 0.03955638,
    ];
    let channels_last: Vec<f32> = (0..24).map(|index| probabilities[index % 3 * 8 + index / 3]).collect();
    assert_close(&channels_last, &expected);
}

#[test]
fn separate_answers_of_a_described_model_get_a_background() {
    let model = open("bioimage_0_5/bioimageio.yaml");
    assert_eq!((model.classes(), model.patch_size()), (3, [256, 256]));
    assert_eq!(model.class_names().unwrap(), ["background", "axon", "myelin"]);
    assert!(model.notes()[0].contains("separate answers"), "{:?}", model.notes());
    let logits = model.logits(&prepared(&model), SIZE).unwrap();
    assert_eq!(logits[..8], [0.0; 8]);
    let probabilities: Vec<f32> = logits[8..].iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
    let expected = [
        0.11920293, 0.12691097, 0.13959816, 0.15333097, 0.16815068, 0.18409131, 0.20117763, 0.5, 0.5, 0.2689414,
        0.28321862, 0.30605423, 0.5, 0.3546204, 0.38015968, 0.40638012,
    ];
    assert_close(&probabilities, &expected);
}

#[test]
fn certainty_stays_finite_and_a_file_alone_says_what_it_assumes() {
    let model = open("sigmoid.onnx");
    let logits = model.logits(&[1e6, 1e6, -1e6, -1e6], [2, 2]).unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()), "{logits:?}");
    assert_eq!(model.preprocessing(), [USUAL]);
    assert!(model.notes()[0].contains("zero mean"), "{:?}", model.notes());
}

#[test]
fn a_model_can_be_shared_by_threads() {
    let model = open("softmax.onnx");
    let expected = model.logits(&IMAGE, SIZE).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(model.logits(&IMAGE, SIZE).unwrap(), expected));
        }
    });
}

#[test]
fn networks_that_do_not_segment_grey_images_are_refused_with_the_reason() {
    let refusals = [
        ("two_inputs.onnx", "2 inputs (x, z)"),
        ("two_outputs.onnx", "2 outputs (y, z)"),
        ("colour.onnx", "3 channels"),
        ("volume.onnx", "5 axes [1, 1, ?, ?, ?]"),
        ("valid.onnx", "[1, 2, 254, 254]"),
        ("labels.onnx", "argmax"),
        ("operator.onnx", "operators Deconvolve, Ponder"),
        ("padding.onnx", "malformed"),
        ("missing.onnx", "no such file"),
        ("", "no bioimageio.yaml"),
    ];
    for (name, words) in refusals {
        let error = refusal(&fixture(name));
        assert!(error.contains(words) && error.contains(name), "{error} does not say {words}");
    }
}

#[test]
fn damaged_files_are_refused_and_never_end_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.onnx");
    let whole = fs::read(fixture("softmax.onnx")).unwrap();
    for length in (2..whole.len()).step_by(3) {
        fs::write(&path, &whole[..length]).unwrap();
        // A cut between the network and the version of its operators leaves a file that is complete in itself.
        if let Err(error) = OnnxModel::open(&path) {
            assert!(error.to_string().contains("cut short"), "{error}");
        } else {
            assert!(length > whole.len() - 8);
        }
    }
    for (content, words) in [(&b""[..], "not an ONNX file"), (b"GIF89a", "not an ONNX file"), (b"\x08\x08", "damaged")]
    {
        fs::write(&path, content).unwrap();
        assert!(refusal(&path).contains(words), "{}", refusal(&path));
    }
}

#[test]
fn weights_that_are_not_the_described_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["bioimageio.yaml", "weights.onnx"] {
        fs::copy(fixture("bioimage_0_5").join(name), dir.path().join(name)).unwrap();
    }
    assert!(OnnxModel::open(dir.path()).is_ok());
    fs::copy(fixture("fixed.onnx"), dir.path().join("weights.onnx")).unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("weights.onnx") && error.contains("SHA-256"), "{error}");
}
