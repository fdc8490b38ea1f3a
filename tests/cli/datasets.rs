//! `synlabel check`, `synlabel convert`, and how batches end, driven from outside.

use std::fs;
use std::process::Output;

use super::{Lab, fails, succeeds};
use serde_json::Value;
use synlabel::imaging::{self, BitDepth, LabelMap, Plane};

/// Standard output of a command that ends with a code.
#[track_caller]
fn ends(output: Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr
}

fn spoil(lab: &Lab, name: &str) {
    fs::write(lab.path(name), "this is not an image").unwrap();
}

/// Masks of two halves beside the labelled images.
fn add_masks(lab: &Lab) {
    for i in 0..3 {
        let mask = LabelMap::new(48, 40, (0..48 * 40).map(|pixel| if pixel < 960 { 127 } else { 255 }).collect());
        imaging::write_labels(&lab.path(&format!("labelled/nerve_{i}_seg-axonmyelin.png")), &mask).unwrap();
    }
}

#[test]
fn check_shows_a_table_and_compares_two_sets() {
    let lab = Lab::new();
    add_masks(&lab);
    let told = ends(lab.run(&["check", "--labelled", "labelled", "--target", "target", "-o", "seen"]), 0);
    for words in
        ["nerve_0", "48", "myelin %", "50.0", "AxonDeepSeg's files", "size of structures", "pixel size not known"]
    {
        assert!(told.contains(words), "{words} is missing: {told}");
    }
    let sheet = imaging::read(&lab.path("seen/contact_sheet_1.png")).unwrap();
    assert!(sheet.plane.width() > 120 && lab.path("seen/contact_sheet_2.png").is_file());
    let json: Value = serde_json::from_str(&fs::read_to_string(lab.path("seen/check.json")).unwrap()).unwrap();
    assert_eq!((json["sets"].as_array().unwrap().len(), json["failed"].as_object().unwrap().len()), (2, 0));
    assert!(json["comparison"]["sets"]["labelled"]["density"][1].as_f64().unwrap() > 0.0);
}

#[test]
fn check_ends_with_the_number_that_says_how_much_can_be_used() {
    let lab = Lab::new();
    ends(lab.run(&["check", "-i", "target"]), 0);
    spoil(&lab, "target/bad.png");
    let told = ends(lab.run(&["check", "-i", "target", "--json"]), 2);
    let json: Value = serde_json::from_str(told.trim()).unwrap();
    let finding = &json["sets"][0]["findings"][0];
    assert_eq!((finding["problem"].as_str(), finding["severity"].as_str()), (Some("unreadable_image"), Some("error")));
    assert!(finding["files"][0].as_str().unwrap().ends_with("bad.png") && finding["what"].as_str().is_some());
    let told = ends(lab.run(&["check", "-i", "target", "nowhere"]), 2);
    assert!(told.contains("nowhere: cannot be looked at"), "{told}");
    ends(lab.run(&["check", "-i", "nowhere"]), 1);
    fs::create_dir(lab.path("spoilt")).unwrap();
    spoil(&lab, "spoilt/a.png");
    ends(lab.run(&["check", "-i", "spoilt"]), 1);
}

#[test]
fn convert_writes_both_layouts_and_lists_what_it_could_not() {
    let lab = Lab::new();
    add_masks(&lab);
    let arguments = ["convert", "-i", "labelled", "-o", "bids", "--as", "bids", "--suffix", "TEM"];
    let told = ends(lab.run(&[&arguments[..], &["--pixel-size-um", "0.1"]].concat()), 0);
    assert!(told.contains("3 images in bids, 3 of them with masks; read back"), "{told}");
    assert!(ends(lab.run(&["check", "-i", "bids"]), 0).contains("BIDS microscopy, 3 images of 3 subjects"));
    let told = ends(lab.run(&["convert", "-i", "bids", "-o", "Dataset001_Nerve", "--as", "nnunet", "--json"]), 0);
    assert_eq!(serde_json::from_str::<Value>(told.trim()).unwrap()["images"], 3);
    spoil(&lab, "labelled/nerve_0.png");
    let told = ends(lab.run(&["convert", "-i", "labelled", "-o", "Dataset002_Nerve", "--as", "nnunet"]), 2);
    assert!(told.contains("not written: labelled/nerve_0.png") && told.contains("2 images in"), "{told}");
    let told = ends(lab.run(&["convert", "-i", "labelled", "-o", "Dataset002_Nerve", "--as", "nnunet"]), 1);
    assert!(told.contains("there is something already"), "{told}");
}

#[test]
fn a_batch_goes_on_after_a_bad_file_and_says_so_at_the_end() {
    let lab = Lab::new();
    succeeds(lab.train("run", &["--epochs", "1", "--iterations-per-epoch", "1"]));
    spoil(&lab, "target/bad.png");
    let translate = |out| lab.run(&["translate", "-m", "run", "-i", "target", "-o", out, "--to", "labelled"]);
    let told = ends(translate("out"), 2);
    assert!(told.contains("left out 1 file") && told.contains("bad.png") && told.contains("3 images in"), "{told}");
    // A file that cannot be written is told as well.
    fs::create_dir_all(lab.path("blocked/nerve_1.png")).unwrap();
    let told = ends(translate("blocked"), 2);
    assert!(told.contains("left out 2 files") && told.contains("2 images in"), "{told}");
    ends(lab.run(&["translate", "-m", "run", "-i", "target/bad.png", "-o", "none", "--to", "labelled"]), 1);
    let evaluate = ["evaluate", "translation", "-m", "run", "--labelled", "labelled", "--target", "target"];
    ends(lab.run(&evaluate), 2);
    let json = fs::read_to_string(lab.path("run/evaluation/evaluation.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["failed"].as_object().unwrap().len(), 1);
}

#[test]
fn masks_that_cannot_be_scored_cost_no_other() {
    let lab = Lab::new();
    let mask = |value: u8| LabelMap::new(8, 8, (0..64).map(|i| if i < 20 { value } else { 0 }).collect());
    for folder in ["predicted", "truth"] {
        fs::create_dir(lab.path(folder)).unwrap();
        for name in ["a", "b"] {
            imaging::write_labels(&lab.path(&format!("{folder}/{name}.png")), &mask(1)).unwrap();
        }
    }
    let evaluate = ["segment", "evaluate", "-p", "predicted", "-g", "truth", "--classes", "axon", "-o", "scores"];
    ends(lab.run(&evaluate), 0);
    imaging::write_labels(&lab.path("predicted/b.png"), &mask(77)).unwrap();
    let told = ends(lab.run(&evaluate), 2);
    assert!(told.contains("not scored: b:") && told.contains("77"), "{told}");
    let json: Value = serde_json::from_str(&fs::read_to_string(lab.path("scores/scores.json")).unwrap()).unwrap();
    assert!(json["failed"]["b"].as_str().unwrap().contains("77"));
    fs::remove_file(lab.path("predicted/a.png")).unwrap();
    ends(lab.run(&evaluate), 1);
}

#[test]
fn balanced_crops_are_told_and_saved_with_the_run() {
    let lab = Lab::new();
    let plane = Plane::from_fn(48, 40, |y, x| if y < 8 { ((x / 3) % 2) as f32 } else { 0.4 + y as f32 / 500.0 });
    for i in 0..3 {
        imaging::write(&lab.path(&format!("labelled/nerve_{i}.png")), &plane, BitDepth::Eight, None).unwrap();
    }
    let short = ["--epochs", "1", "--iterations-per-epoch", "1", "--crop", "24"];
    let told = succeeds(lab.train("run", &[&short[..], &["--balance-crops"]].concat()));
    assert!(told.contains("labelled crops are drawn where there is structure"), "{told}");
    assert!(fs::read_to_string(lab.path("run/config.toml")).unwrap().contains("balance_crops = true"));
    let told = succeeds(lab.train("plain", &short));
    assert!(!told.contains("are drawn where"), "{told}");
    assert!(!fs::read_to_string(lab.path("plain/config.toml")).unwrap().contains("balance_crops"));
}

#[test]
fn a_layout_that_a_folder_has_not_is_refused_with_what_is_missing() {
    let lab = Lab::new();
    let error = fails(lab.run(&["segment", "train", "-i", "labelled", "-o", "model", "--format", "nnunet"]));
    assert!(error.contains("there is no dataset.json"), "{error}");
    let told = succeeds(lab.run(&["check", "-i", "labelled", "--format", "bids"]));
    assert!(told.contains("BIDS microscopy, 3 images"), "{told}");
}
