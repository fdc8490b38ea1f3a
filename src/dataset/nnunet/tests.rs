use super::*;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const CASES: [&str; 4] = ["imagesTr/a_0000.png", "labelsTr/a.png", "imagesTr/b_0000.png", "labelsTr/b.png"];

fn description() -> Value {
    json!({
        "channel_names": {"0": "rescale_to_0_1"},
        "labels": {"background": 0, "myelin": 1, "axon": 2},
        "numTraining": 2,
        "file_ending": ".png"
    })
}

fn folder(description: &str, files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["imagesTr", "labelsTr", "imagesTs"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("dataset.json"), description).unwrap();
    files.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
    dir
}

fn refused(description: &str, files: &[&str]) -> String {
    discover(folder(description, files).path()).unwrap_err().to_string()
}

/// The error of a complete folder in whose description one field is another, or missing if null.
fn refused_with(field: &str, value: Value) -> String {
    let mut description = description();
    description.as_object_mut().unwrap().remove(field);
    if !value.is_null() {
        description[field] = value;
    }
    refused(&description.to_string(), &CASES)
}

#[test]
fn a_complete_folder_keeps_its_numbers_its_order_and_its_channel() {
    let others = ["imagesTr/.hidden_0000.png", "imagesTr/c_0000.tif", "imagesTs/d_0000.png"];
    let dir = folder(&description().to_string(), &[CASES.as_slice(), &others].concat());
    let annotated = super::super::discover_annotated(dir.path()).unwrap();
    assert_eq!((annotated.dataset.format, annotated.channel.as_deref()), (Format::NnUnet, Some("rescale_to_0_1")));
    assert_eq!(annotated.classes, ["myelin", "axon"]);
    let cases: Vec<_> = annotated.dataset.cases.iter().map(|case| (case.name.as_str(), case.path.clone())).collect();
    let image = |name: &str| dir.path().join("imagesTr").join(name);
    assert_eq!(cases, [("a", image("a_0000.png")), ("b", image("b_0000.png"))]);
    let mask = |name: &str| MaskSource {
        files: vec![MaskFile { path: dir.path().join("labelsTr").join(name), encoding: Encoding::Numbers(2) }],
    };
    assert_eq!(annotated.masks, [mask("a.png"), mask("b.png")]);
    assert_eq!((annotated.dataset.skipped.len(), annotated.dataset.notes.len()), (1, 1));
}

#[test]
fn an_ignore_label_is_no_class_and_there_may_be_254_besides() {
    let with_labels = |labels: Value| {
        let mut description = description();
        description["labels"] = labels;
        discover(folder(&description.to_string(), &CASES).path()).map_err(|error| error.to_string())
    };
    let annotated = with_labels(json!({"background": 0, "ignore": 3, "axon": 2, "myelin": "1"})).unwrap();
    assert_eq!(annotated.classes, ["myelin", "axon"]);
    assert_eq!(annotated.masks[0].files[0].encoding, Encoding::NumbersAndIgnore(2));
    let numbered = |last: u64| {
        let classes = (1..=last).map(|number| (format!("class {number}"), json!(number)));
        let others = [("background".to_string(), json!(0)), ("ignore".to_string(), json!(last + 1))];
        with_labels(classes.chain(others).collect())
    };
    assert_eq!(numbered(254).unwrap().classes.len(), 254);
    assert!(numbered(255).unwrap_err().contains("at most 254"));
}

#[test]
fn masks_follow_the_images_where_their_order_is_another() {
    // `x-1_0000.png` comes before `x_0000.png`, but `x` before `x-1`.
    let files = ["imagesTr/x_0000.png", "imagesTr/x-1_0000.png", "labelsTr/x.png", "labelsTr/x-1.png"];
    let dir = folder(&description().to_string(), &files);
    let annotated = discover(dir.path()).unwrap();
    for (case, masks) in annotated.dataset.cases.iter().zip(&annotated.masks) {
        assert!(masks.files[0].path.ends_with(format!("labelsTr/{}.png", case.name)));
    }
    assert!(annotated.dataset.cases.is_sorted_by_key(|case| &case.path));
}

#[test]
fn subjects_come_from_the_table_or_else_from_the_names() {
    let subjects = |dir: &TempDir| {
        let annotated = discover(dir.path()).unwrap();
        annotated.dataset.cases.into_iter().map(|case| case.subject).collect::<Vec<_>>()
    };
    let files = ["imagesTr/sub-1_x_0000.png", "imagesTr/y_0000.png", "labelsTr/sub-1_x.png", "labelsTr/y.png"];
    let dir = folder(&description().to_string(), &files);
    assert_eq!(subjects(&dir), ["sub-1", "y"]);
    fs::write(dir.path().join("subjects.tsv"), "file\tsubject\ny_0000.png\tmouse\n").unwrap();
    assert_eq!(subjects(&dir), ["sub-1_x", "mouse"]);
}

#[test]
fn incomplete_folders_are_refused_with_what_is_missing() {
    let text = description().to_string();
    assert!(refused(&text, &CASES[..3]).contains("add labelsTr/b.png"));
    assert!(refused(&text, &[&CASES[..2], &CASES[3..]].concat()).contains("add imagesTr/b_0000.png"));
    assert!(refused(&text, &CASES[..2]).contains("numTraining as 2, but imagesTr holds 1"));
    assert!(refused(&text, &[]).contains("holds no CASE_0000.png"));
    assert!(refused(&text, &["imagesTr/a_0001.png"]).contains("not named CASE_0000.png"));
    let dir = folder(&text, &CASES);
    fs::remove_file(dir.path().join("dataset.json")).unwrap();
    assert!(discover(dir.path()).unwrap_err().to_string().contains("no dataset.json"));
}

#[test]
fn a_description_that_is_broken_or_not_supported_is_refused_with_the_reason() {
    assert!(refused("{", &CASES).contains("cannot be understood"));
    for field in ["channel_names", "labels", "numTraining", "file_ending"] {
        assert!(refused_with(field, Value::Null).contains(&format!("missing field `{field}`")));
    }
    assert!(refused_with("channel_names", json!({"0": "red", "1": "green"})).contains("2 channels (red, green)"));
    assert!(refused_with("file_ending", json!(".nrrd")).contains(".nrrd"));
    assert!(refused_with("dataset", json!({"a": {}})).contains("`dataset`"));
}

#[test]
fn labels_that_are_not_numbered_without_a_gap_are_refused() {
    let labels = |labels| refused_with("labels", labels);
    assert!(labels(json!({"background": 0, "fibre": [1, 2]})).contains("region"));
    assert!(labels(json!({"background": 0, "ignore": 1, "axon": 2})).contains("ignore of dataset.json must have"));
    assert!(labels(json!({"background": 0, "ignore": 1})).contains("background 0"));
    assert!(labels(json!({"background": 0, "axon": 1, "ignore": 3})).contains("without a gap"));
    assert!(labels(json!({"background": 0, "axon": 2})).contains("without a gap"));
    assert!(labels(json!({"axon": 0, "myelin": 1})).contains("background 0"));
    assert!(labels(json!({"background": 0})).contains("background 0"));
    assert!(labels(json!({"background": 0, "axon": 1, "myelin": 1})).contains("same number 1"));
    assert!(labels(json!({"background": 0, "axon": -1})).contains("no number but -1"));
}
