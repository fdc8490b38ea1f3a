use super::*;
use std::fs;
use tempfile::TempDir;

/// A folder with empty files: pairing looks at names.
fn folder(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    dir
}

fn named(classes: &[&str]) -> ScoreOptions {
    ScoreOptions { classes: Some(classes.iter().map(|class| class.to_string()).collect()), ..ScoreOptions::default() }
}

fn pairs(predictions: &TempDir, truth: &TempDir, options: &ScoreOptions) -> Pairs {
    find_pairs(predictions.path(), truth.path(), options).unwrap()
}

fn refusal(predictions: &TempDir, truth: &TempDir, options: &ScoreOptions) -> String {
    find_pairs(predictions.path(), truth.path(), options).unwrap_err().to_string()
}

/// The file names and numbers of a class pair.
fn files(pair: &ClassPair) -> [(&str, u8); 2] {
    [&pair.predicted, &pair.truth].map(|mask| (mask.file.path.file_name().unwrap().to_str().unwrap(), mask.number))
}

#[test]
fn label_maps_meet_masks_that_name_their_class() {
    let predictions = folder(&["a.png", "b.png"]);
    let truth = folder(&[
        "sub-1/a.png",
        "derivatives/labels/a_seg-axon-manual.png",
        "derivatives/labels/a_seg-axonmyelin-manual.png",
        "derivatives/labels/c_seg-axon-manual.png",
    ]);
    let found = pairs(&predictions, &truth, &named(&["myelin", "axon"]));
    assert_eq!(found.classes, ["myelin", "axon"]);
    assert_eq!((found.without_truth, found.without_prediction), (vec!["b".to_string()], vec!["c".to_string()]));
    assert_eq!(found.images.len(), 1);
    let [axon, myelin] = found.images[0].classes.as_slice() else { panic!("{:?}", found.images) };
    assert_eq!(files(axon), [("a.png", 2), ("a_seg-axon-manual.png", 1)], "not the combined mask");
    assert_eq!(files(myelin), [("a.png", 1), ("a_seg-axonmyelin-manual.png", 1)]);
    assert!(found.notes.len() == 1 && found.notes[0].contains("1 file has no _seg-"), "{:?}", found.notes);
    let error = refusal(&predictions, &truth, &ScoreOptions::default());
    assert!(error.contains("--classes myelin,axon"), "{error}");
}

#[test]
fn names_of_label_maps_come_from_dataset_json_and_may_be_numbered_otherwise() {
    let predictions = folder(&["pred/a.png"]);
    let truth = folder(&["imagesTr/a_0000.png", "labelsTr/a.png"]);
    let write = |dir: &TempDir, labels: &str| {
        fs::write(dir.path().join("dataset.json"), format!("{{\"labels\": {labels}}}")).unwrap();
    };
    write(&truth, r#"{"background": 0, "myelin": 1, "axon": 2}"#);
    let numbers = || {
        let found =
            find_pairs(&predictions.path().join("pred"), &truth.path().join("labelsTr"), &ScoreOptions::default());
        found.unwrap().images[0].classes.iter().map(|pair| files(pair).map(|(_, number)| number)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(), [[2, 2], [1, 1]], "axon, myelin");
    write(&predictions, r#"{"background": 0, "axon": 1, "myelin": 2}"#);
    assert_eq!(numbers(), [[1, 2], [2, 1]]);
    assert_eq!(pairs(&predictions, &truth, &ScoreOptions::default()).images.len(), 1, "imagesTr is not entered");
}

#[test]
fn folds_come_from_folders_or_from_the_splits() {
    let predictions = folder(&["fold_0/validation/a.png", "fold_1/a.png", "b.png"]);
    let truth = folder(&["a.png", "b.png"]);
    let splits = predictions.path().join("splits_final.json");
    let options = ScoreOptions { folds: Some(splits.clone()), ..named(&["axon"]) };
    fs::write(&splits, r#"[{"val": ["x"]}, {"val": ["a"]}, {"val": ["b"]}]"#).unwrap();
    let found = |options: &ScoreOptions| {
        let found = pairs(&predictions, &truth, options).images;
        found.into_iter().map(|pair| full_name(pair.fold.as_deref(), &pair.image)).collect::<Vec<_>>()
    };
    assert_eq!(found(&named(&["axon"])), ["b", "fold_0/a", "fold_1/a"]);
    assert_eq!(found(&options), ["fold_0/a", "fold_1/a", "fold_2/b"]);
    fs::write(&splits, r#"[{"val": ["x"]}]"#).unwrap();
    let error = refusal(&folder(&["a.png"]), &truth, &options);
    assert!(error.contains("splits_final.json: none of its cases"), "{error}");
}

#[test]
fn in_one_folder_the_manual_mask_is_the_truth() {
    let dir = folder(&["a.png", "a_seg-axon.png", "a_seg-axon-manual.png"]);
    let found = pairs(&dir, &dir, &ScoreOptions::default());
    assert_eq!(files(&found.images[0].classes[0]), [("a_seg-axon.png", 1), ("a_seg-axon-manual.png", 1)]);
    fs::write(dir.path().join("b_seg-axon.png"), "").unwrap();
    let error = refusal(&dir, &dir, &ScoreOptions::default());
    assert!(error.contains("b_seg-axon.png: it is both the prediction and the truth"), "{error}");
}

#[test]
fn two_files_are_a_pair_whatever_their_names() {
    let dir = folder(&["x_seg-axon.png", "manual_seg-axon.tif"]);
    let at = |name: &str| dir.path().join(name);
    let found = find_pairs(&at("x_seg-axon.png"), &at("manual_seg-axon.tif"), &ScoreOptions::default()).unwrap();
    assert_eq!((found.images[0].image.as_str(), found.images.len()), ("x", 1));
}

#[test]
fn what_cannot_be_paired_is_refused_with_a_sentence() {
    let [a, b] = ["a_seg-axon.png", "b_seg-axon.png"].map(|name| folder(&[name]));
    let plain = ScoreOptions::default();
    assert!(refusal(&a, &b, &plain).contains("no image is called as in"), "{}", refusal(&a, &b, &plain));
    let myelin = folder(&["a_seg-myelin.png"]);
    assert!(refusal(&a, &myelin, &plain).contains("axon is predicted, but not true, in a"));
    let twice = folder(&["x/a_seg-axon.png", "y/a_seg-axon.png"]);
    assert!(refusal(&twice, &a, &plain).contains("and so does"), "{}", refusal(&twice, &a, &plain));
    assert!(refusal(&folder(&["notes.txt"]), &a, &plain).contains("there is no mask in a format that is read"));
    let missing = find_pairs(&a.path().join("gone"), b.path(), &plain).unwrap_err().to_string();
    assert!(missing.contains("gone: there is no such file or folder"), "{missing}");
    assert!(refusal(&a, &b, &named(&["axon", "axon"])).contains("--classes axon,axon"));
}

#[test]
fn a_class_of_one_side_is_noted_and_the_others_are_scored() {
    let predictions = folder(&["a_seg-axon.png", "b_seg-axon.png", "b_seg-uaxon.png"]);
    let truth = folder(&["a_seg-axon.png", "a_seg-myelin.png", "b_seg-axon.png"]);
    let found = pairs(&predictions, &truth, &ScoreOptions::default());
    assert_eq!((found.classes, found.images.len()), (vec!["axon".to_string()], 2));
    let expected = [
        "myelin is true, but not predicted, in a; it is not scored there",
        "uaxon is predicted, but not true, in b; it is not scored there",
    ];
    assert_eq!(found.notes, expected);
}
