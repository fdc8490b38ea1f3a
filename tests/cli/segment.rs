//! `synlabel segment` driven from outside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use synlabel::imaging::{self, BitDepth, LabelMap, Plane};
use synlabel::phantom::{Look, draw};
use synlabel::random::Stream;
use tempfile::TempDir;

use super::{fails, networks, succeeds};

/// Options that make networks and epochs tiny.
const TINY: [&str; 8] = ["--base-features", "4", "--max-patch", "32", "--epochs", "2", "--iterations-per-epoch", "3"];

/// A folder with four phantoms and AxonDeepSeg's masks beside them.
fn lab() -> TempDir {
    let lab = tempfile::tempdir().unwrap();
    let images = lab.path().join("images");
    fs::create_dir(&images).unwrap();
    for i in 0..4u64 {
        let phantom = draw(Look::DarkMyelin, 56, 48, &Stream::new(i));
        imaging::write(&images.join(format!("nerve_{i}.png")), &phantom.image, BitDepth::Eight, None).unwrap();
        write_mask(&images.join(format!("nerve_{i}_seg-axonmyelin.png")), &phantom.labels, [0, 127, 255]);
    }
    lab
}

/// Writes grey values for background, myelin and axon.
fn write_mask(path: &Path, labels: &LabelMap, greys: [u8; 3]) {
    let values = labels.classes().iter().map(|class| greys[usize::from(*class)]).collect();
    imaging::write_labels(path, &LabelMap::new(labels.height(), labels.width(), values)).unwrap();
}

fn run(lab: &TempDir, arguments: &[&str]) -> Output {
    Command::cargo_bin("synlabel").unwrap().current_dir(lab.path()).args(arguments).output().unwrap()
}

fn train(lab: &TempDir, model: &str, further: &[&str]) -> Output {
    run(lab, &[&["segment", "train", "-i", "images", "-o", model], &TINY[..], further].concat())
}

fn golden_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet/nnUNetTrainer__nnUNetPlans__2d")
}

fn levels(path: &Path) -> Vec<u8> {
    let plane = imaging::read(path).unwrap().plane;
    let mut levels: Vec<u8> = plane.pixels().iter().map(|value| (value * 255.0).round() as u8).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

#[test]
fn trains_predicts_and_evaluates() {
    let lab = lab();
    let said = succeeds(train(&lab, "model", &["--folds", "2", "--seed", "1"]));
    assert!(said.contains("4 images of 4 subjects") && said.contains("myelin, axon"), "{said}");
    let model = lab.path().join("model");
    for name in ["plan.toml", "data.json", "fold_0/metrics.csv", "fold_0/curves.png", "fold_1/best", "fold_1/last"] {
        assert!(model.join(name).exists(), "{name} is missing");
    }
    assert_eq!(fs::read_to_string(model.join("fold_0/metrics.csv")).unwrap().lines().count(), 3);

    let said = succeeds(run(&lab, &["segment", "predict", "-m", "model", "-i", "images", "-o", "out"]));
    assert!(said.contains("folds 0, 1") && said.contains("masks of 4 images"), "{said}");
    let out = lab.path().join("out");
    assert!(levels(&out.join("nerve_0.png")).iter().all(|label| *label <= 2));
    assert!(levels(&out.join("nerve_0_seg-axonmyelin.png")).iter().all(|grey| [0, 127, 255].contains(grey)));

    let said = succeeds(run(&lab, &["segment", "evaluate", "-p", "out", "-g", "images", "-o", "scores"]));
    assert!(said.contains("axon") && said.contains("myelin"), "{said}");
    // A row for each of four images and two classes, and the headers.
    assert_eq!(fs::read_to_string(lab.path().join("scores/scores.csv")).unwrap().lines().count(), 9);
    assert!(lab.path().join("scores/scores.json").is_file());
}

#[test]
fn the_same_seed_gives_the_same_model_and_a_finished_fold_is_not_trained_again() {
    let lab = lab();
    succeeds(train(&lab, "once", &["--fold", "all"]));
    succeeds(train(&lab, "twice", &["--fold", "all"]));
    let best = |model: &str| networks(&lab.path().join(model).join("fold_all/best"));
    assert!(!best("once").is_empty());
    assert_eq!(best("once"), best("twice"));
    succeeds(run(&lab, &["segment", "train", "-i", "images", "-o", "once", "--resume"]));
    assert_eq!(best("once"), best("twice"));
    let refused = fails(train(&lab, "once", &["--fold", "all"]));
    assert!(refused.contains("holds a model already; go on with --resume"), "{refused}");
}

#[test]
fn a_plan_can_be_edited_before_training() {
    let lab = lab();
    succeeds(run(
        &lab,
        &["segment", "train", "-i", "images", "-o", "model", "--plan-only", "--folds", "2", "--base-features", "4"],
    ));
    let path = lab.path().join("model/plan.toml");
    let text = fs::read_to_string(&path).unwrap();
    let edited = text.replace("batch_size = 4", "batch_size = 1").replace("batch_size = 2", "batch_size = 1");
    assert_ne!(text, edited);
    fs::write(&path, edited).unwrap();
    let arguments = ["segment", "train", "-i", "images", "-o", "model", "--fold", "0", "--folds", "2"];
    let said = succeeds(run(&lab, &[&arguments[..], &["--epochs", "1", "--iterations-per-epoch", "1"]].concat()));
    assert!(said.contains("using the plan in model"), "{said}");
    assert!(fs::read_to_string(&path).unwrap().contains("batch_size = 1"));
    assert!(!lab.path().join("model/fold_1").exists());
}

#[test]
fn a_time_budget_ends_training() {
    let lab = lab();
    let arguments = ["segment", "train", "-i", "images", "-o", "model", "--fold", "all", "--time-budget", "3s"];
    succeeds(run(&lab, &[&arguments[..], &["--base-features", "4", "--max-patch", "32"]].concat()));
    let plan = fs::read_to_string(lab.path().join("model/plan.toml")).unwrap();
    assert!(plan.contains("time_budget_s"), "{plan}");
    assert!(lab.path().join("model/fold_all/best").is_dir());
}

#[test]
fn faulty_data_are_refused_with_a_remedy_before_training() {
    let lab = lab();
    let mask = lab.path().join("images/nerve_0_seg-axonmyelin.png");
    let good = fs::read(&mask).unwrap();
    let refused = |prepare: &dyn Fn()| {
        prepare();
        let said = fails(train(&lab, "model", &["--folds", "2"]));
        fs::write(&mask, &good).unwrap();
        assert!(!lab.path().join("model").exists(), "nothing may be begun");
        said
    };
    let labels = draw(Look::DarkMyelin, 56, 48, &Stream::new(0)).labels;
    let said = refused(&|| write_mask(&mask, &labels, [3, 120, 255]));
    assert!(said.contains("nerve_0_seg-axonmyelin.png") && said.contains("--mask-threshold"), "{said}");
    let said = refused(&|| imaging::write_labels(&mask, &LabelMap::new(2, 2, vec![0, 127, 255, 0])).unwrap());
    assert!(said.contains("2 x 2") || said.contains("2x2"), "{said}");
    let said = fails(train(&lab, "model", &["--folds", "5"]));
    assert!(said.contains("5 folds need 5 subjects, and there are 4") && said.contains("--folds 4"), "{said}");
    // A threshold mends what was refused for its values.
    write_mask(&mask, &labels, [3, 120, 255]);
    succeeds(train(&lab, "mended", &["--fold", "all", "--mask-threshold", "200"]));
}

#[test]
fn faulty_nnunet_folders_are_refused() {
    let lab = tempfile::tempdir().unwrap();
    let raw = lab.path().join("images");
    fs::create_dir_all(raw.join("imagesTr")).unwrap();
    fs::create_dir_all(raw.join("labelsTr")).unwrap();
    for i in 0..2u64 {
        let phantom = draw(Look::DarkMyelin, 40, 40, &Stream::new(i));
        let image = raw.join(format!("imagesTr/case_{i}_0000.png"));
        imaging::write(&image, &phantom.image, BitDepth::Eight, None).unwrap();
        imaging::write_labels(&raw.join(format!("labelsTr/case_{i}.png")), &phantom.labels).unwrap();
    }
    let describe = |count: usize| {
        let text = format!(
            r#"{{"channel_names": {{"0": "rescale_to_0_1"}}, "labels": {{"background": 0, "myelin": 1, "axon": 2}},
                "numTraining": {count}, "file_ending": ".png"}}"#
        );
        fs::write(raw.join("dataset.json"), text).unwrap();
    };
    describe(3);
    let said = fails(train(&lab, "model", &["--folds", "2"]));
    assert!(said.contains("dataset.json") && said.contains('3') && said.contains('2'), "{said}");
    describe(2);
    let hidden = lab.path().join("away.png");
    fs::rename(raw.join("labelsTr/case_1.png"), &hidden).unwrap();
    let said = fails(train(&lab, "model", &["--folds", "2"]));
    assert!(said.contains("case_1"), "{said}");
    fs::rename(&hidden, raw.join("labelsTr/case_1.png")).unwrap();
    let said = succeeds(train(&lab, "model", &["--fold", "0", "--folds", "2"]));
    assert!(said.contains("nnU-Net raw data"), "{said}");
    assert!(fs::read_to_string(lab.path().join("model/plan.toml")).unwrap().contains("rescale_to_0_1"));
}

#[test]
fn faulty_models_are_refused_by_name() {
    let lab = lab();
    let predict = |model: &str| fails(run(&lab, &["segment", "predict", "-m", model, "-i", "images", "-o", "out"]));
    assert!(predict("nowhere").contains("there is no such file or folder"));

    let cut = lab.path().join("cut");
    fs::create_dir_all(cut.join("fold_0")).unwrap();
    for name in ["plans.json", "dataset.json"] {
        fs::copy(golden_model().join(name), cut.join(name)).unwrap();
    }
    let whole = fs::read(golden_model().join("fold_0/checkpoint_final.pth")).unwrap();
    fs::write(cut.join("fold_0/checkpoint_final.pth"), &whole[..whole.len() / 2]).unwrap();
    let said = predict("cut");
    assert!(said.contains("checkpoint_final.pth") && said.contains("not a complete PyTorch checkpoint"), "{said}");

    let file = fs::File::create(lab.path().join("climbs.zip")).unwrap();
    let mut archive = zip::ZipWriter::new(file);
    archive.start_file("../plans.json", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"{}").unwrap();
    archive.finish().unwrap();
    let said = predict("climbs.zip");
    assert!(said.contains("climbs.zip") && said.contains(".."), "{said}");
}

#[test]
fn a_bad_image_does_not_cost_the_others() {
    let lab = lab();
    fs::write(lab.path().join("broken.png"), "no image").unwrap();
    let model = golden_model();
    let model = model.to_str().unwrap();
    let said = fails(run(&lab, &["segment", "predict", "-m", model, "-i", "broken.png", "images", "-o", "out"]));
    assert!(said.contains("broken.png") && said.contains("left out 1 file"), "{said}");
    assert!(lab.path().join("out/nerve_3.png").is_file());
}

#[test]
fn onnx_files_and_described_models_predict() {
    let lab = lab();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let image = Plane::from_fn(40, 30, |y, x| ((y * x) % 23) as f32 / 22.0);
    imaging::write(&lab.path().join("image.png"), &image, BitDepth::Eight, None).unwrap();
    for model in ["bioimage_0_5", "bioimage_0_4"] {
        let path = fixtures.join(model);
        succeeds(run(&lab, &["segment", "predict", "-m", path.to_str().unwrap(), "-i", "image.png", "-o", model]));
        let mask = imaging::read(&lab.path().join(model).join("image.png")).unwrap().plane;
        assert_eq!((mask.height(), mask.width()), (40, 30));
    }
}
