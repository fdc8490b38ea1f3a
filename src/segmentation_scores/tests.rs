use super::*;
use crate::imaging::{BitDepth, LabelMap, Plane, write, write_labels};
use std::fs;
use tempfile::TempDir;

/// A folder of masks of one row of stored values.
fn folder(masks: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, values) in masks {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_labels(&path, &LabelMap::new(1, values.len(), values.to_vec())).unwrap();
    }
    dir
}

fn scores(predictions: &TempDir, truth: &TempDir, options: &ScoreOptions) -> Result<SegmentationScores> {
    score(&find_pairs(predictions.path(), truth.path(), options)?, options, |_| {})
}

#[test]
fn a_set_of_two_folds_worked_by_hand() {
    let predictions = folder(&[("fold_0/a.png", &[1, 1, 0, 0]), ("fold_1/b.png", &[1, 0, 0, 2])]);
    let truth = folder(&[("a.png", &[1, 1, 0, 0]), ("b.png", &[1, 1, 1, 0])]);
    let scores = scores(&predictions, &truth, &ScoreOptions::default()).unwrap();
    let rows: Vec<_> =
        scores.images.iter().map(|row| (row.image.as_str(), row.class.as_str(), row.figures.dice)).collect();
    let expected =
        [("a", "class_1", Some(1.0)), ("a", "class_2", None), ("b", "class_1", Some(0.5)), ("b", "class_2", Some(0.0))];
    assert_eq!(rows, expected);
    let [first, second] = scores.classes.as_slice() else { panic!("{:?}", scores.classes) };
    assert_eq!((first.images, first.absent, first.over_images.dice.unwrap().mean), (2, 0, 0.75));
    assert_eq!(first.pooled.dice, Some(0.75), "2 * 3 of 3 + 5");
    assert_eq!(
        (first.objects, first.pooled.object_f1),
        (ObjectCounts { predicted: 2, truth: 2, matched: 1 }, Some(0.5))
    );
    assert_eq!((second.images, second.absent, second.over_images.dice.unwrap().n), (2, 1, 1));
    let folds: Vec<_> = scores.folds.iter().map(|fold| (fold.fold.as_str(), fold.classes.len())).collect();
    assert_eq!(folds, [("fold_0", 2), ("fold_1", 2)]);
    let over_folds = scores.across_folds[0].over_folds.dice.unwrap();
    assert_eq!((over_folds.mean, over_folds.n), (0.75, 2));
}

#[test]
fn masks_in_three_conventions_give_the_same_scores() {
    let truth = folder(&[("a_seg-axonmyelin-manual.png", &[0, 127, 255, 255, 128, 0])]);
    let numbers = folder(&[("a.png", &[0, 1, 2, 2, 0, 0])]);
    let combined = folder(&[("a_seg-axonmyelin.png", &[0, 127, 255, 255, 0, 0])]);
    let apart =
        folder(&[("a_seg-axon.png", &[0, 0, 255, 255, 0, 0]), ("a_0000_seg-myelin.png", &[0, 255, 0, 0, 0, 0])]);
    let named =
        ScoreOptions { classes: Some(["myelin", "axon"].map(String::from).to_vec()), ..ScoreOptions::default() };
    for predictions in [&numbers, &combined, &apart] {
        let scores = scores(predictions, &truth, &named).unwrap();
        let figures = |class: &str| scores.images.iter().find(|row| row.class == class).unwrap().figures;
        assert_eq!((figures("axon").iou, figures("myelin").iou), (Some(1.0), Some(0.5)));
    }
}

#[test]
fn pixels_that_the_truth_ignores_are_not_scored() {
    let labels = r#"{"labels": {"background": 0, "axon": 1, "ignore": 2}}"#;
    let truth = folder(&[("a.png", &[0, 1, 1, 2, 2, 0])]);
    fs::write(truth.path().join("dataset.json"), labels).unwrap();
    let named = |names: &[&str]| {
        let classes = Some(names.iter().map(|name| name.to_string()).collect());
        ScoreOptions { classes, ..ScoreOptions::default() }
    };
    // The prediction judges all pixels; of one class, 255 is it as well as 1.
    let predictions = [folder(&[("a.png", &[0, 1, 0, 1, 1, 0])]), folder(&[("a.png", &[0, 255, 0, 255, 255, 0])])];
    for (predictions, options) in
        predictions.iter().flat_map(|folder| [(folder, ScoreOptions::default()), (folder, named(&["axon", "ignore"]))])
    {
        let scores = scores(predictions, &truth, &options).unwrap();
        assert_eq!(scores.images.len(), 1);
        let expected = PixelCounts { true_positive: 1, false_positive: 0, false_negative: 1, true_negative: 2 };
        assert_eq!(scores.images[0].pixels, expected);
        assert_eq!(scores.images[0].objects, ObjectCounts { predicted: 1, truth: 1, matched: 1 });
    }
    let message = scores(&predictions[0], &truth, &named(&["axon", "myelin"])).unwrap();
    assert_eq!(message.images.len(), 2, "without the name it is a class like others");
    let copied = folder(&[("a.png", &[0, 1, 1, 2, 0, 0])]);
    fs::write(copied.path().join("dataset.json"), labels).unwrap();
    assert!(scores(&copied, &truth, &ScoreOptions::default()).is_ok(), "its own description lets it ignore pixels");
}

#[test]
fn classes_that_overlap_are_scored_each_by_its_own_mask() {
    let masks: &[(&str, &[u8])] = &[("a_seg-axon.png", &[255, 255, 0]), ("a_seg-myelin.png", &[0, 255, 255])];
    let scores = scores(&folder(masks), &folder(masks), &ScoreOptions::default()).unwrap();
    assert!(scores.images.iter().all(|row| row.figures.dice == Some(1.0) && row.pixels.true_positive == 2));
}

#[test]
fn masks_that_cannot_be_compared_are_refused_with_their_names() {
    let refusal = |predictions, truth| scores(&predictions, &truth, &ScoreOptions::default()).unwrap_err().to_string();
    let message = refusal(folder(&[("a_seg-axon.png", &[0, 255])]), folder(&[("a_seg-axon.png", &[0, 255, 0])]));
    assert!(message.contains("it has 2 x 1 pixels") && message.contains("has 3 x 1;"), "{message}");
    let message = refusal(folder(&[("a_seg-axon.png", &[0, 255])]), folder(&[("a_seg-axon.png", &[0, 130])]));
    assert!(message.contains("1 x 130") && message.contains("--mask-threshold"), "{message}");
    let message = refusal(folder(&[("a.png", &[0, 0])]), folder(&[("a.png", &[0, 0])]));
    assert!(message.contains("--classes"), "{message}");
    let grey = folder(&[]);
    write(&grey.path().join("a.png"), &Plane::from_fn(1, 2, |_, x| x as f32 * 0.5), BitDepth::Eight, None).unwrap();
    let message = refusal(grey, folder(&[("a.png", &[0, 1])]));
    assert!(
        message.contains("a.png: 1 of its 2 pixels hold values that a mask of 0 and 255 must not have"),
        "{message}"
    );
}
