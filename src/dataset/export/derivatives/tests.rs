use super::*;
use crate::dataset::{Format, discover, discover_annotated, read_labels};
use crate::imaging::IGNORE;
use crate::segmentation_scores::{ScoreOptions, find_pairs, score};
use std::fs;
use tempfile::TempDir;

const IMAGES: [&str; 2] = ["sub-1/micr/sub-1_sample-A_SEM.png", "sub-2/ses-b/micr/sub-2_ses-b_sample-A_SEM.png"];

fn program() -> GeneratedBy {
    GeneratedBy {
        name: "synlabel".into(),
        version: "1.0".into(),
        description: "Masks by a model".into(),
        code_url: None,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn folder(images: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in images {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, &Plane::from_fn(1, 3, |_, x| x as f32 / 2.0), BitDepth::Eight, None).unwrap();
    }
    dir
}

fn bids_folder() -> TempDir {
    let dir = folder(&IMAGES);
    fs::write(dir.path().join("dataset_description.json"), "{}").unwrap();
    dir
}

/// Background, myelin, axon.
fn labels() -> LabelMap {
    LabelMap::new(1, 3, vec![0, 1, 2])
}

/// Writes masks of all images of a folder.
fn write_all(source: &Path, dir: &Path) {
    let classes = names(&["myelin", "axon"]);
    let mut derivatives = Derivatives::create(dir, &program(), &[source.to_path_buf()], &classes).unwrap();
    let confidence = Plane::new(1, 3, vec![1.0, 0.5, 0.0]);
    for case in discover(source).unwrap().cases {
        let quality = Map::from_iter([("Quality".to_string(), json!({"score": 0.9}))]);
        derivatives.add(&case, &labels(), Some(0.13), Some(&confidence), quality).unwrap();
    }
    derivatives.finish().unwrap();
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn values(path: PathBuf) -> Vec<f32> {
    crate::imaging::read(&path).unwrap().plane.pixels().iter().map(|value| (value * 255.0).round()).collect()
}

#[test]
fn masks_laid_into_a_bids_folder_are_read_back() {
    let dir = bids_folder();
    write_all(dir.path(), &dir.path().join("derivatives/labels"));
    let annotated = discover_annotated(dir.path()).unwrap();
    assert_eq!((annotated.dataset.format, &annotated.classes), (Format::Bids, &names(&["myelin", "axon"])));
    assert_eq!((annotated.dataset.cases.len(), annotated.unlabelled.len()), (2, 0));
    assert_eq!((annotated.dataset.notes, annotated.dataset.skipped), (vec![], vec![]));
    for masks in &annotated.masks {
        assert_eq!(read_labels(masks, [1, 3], None).unwrap().map, labels());
    }
}

#[test]
fn masks_are_scored_against_truth_of_the_same_images() {
    let dir = bids_folder();
    let derived = dir.path().join("derivatives/synlabel");
    write_all(dir.path(), &derived);
    let truth = tempfile::tempdir().unwrap();
    write_labels(
        &truth.path().join("sub-1_sample-A_SEM_seg-axonmyelin-manual.png"),
        &LabelMap::new(1, 3, vec![0, 127, 255]),
    )
    .unwrap();
    let options = ScoreOptions::default();
    let scores = score(&find_pairs(&derived, truth.path(), &options).unwrap(), &options, |_| {}).unwrap();
    let dice: Vec<_> = scores.images.iter().map(|image| (image.class.as_str(), image.figures.dice)).collect();
    assert_eq!(dice, [("axon", Some(1.0)), ("myelin", Some(1.0))]);
}

#[test]
fn files_are_those_of_public_sets_and_tell_where_they_come_from() {
    let dir = bids_folder();
    let root = dir.path().join("derivatives/synlabel");
    write_all(dir.path(), &root);
    let file = |ending: &str| root.join(format!("sub-1/micr/sub-1_sample-A{ending}"));
    assert_eq!(values(file("_SEM_seg-axon.png")), [0.0, 0.0, 255.0]);
    assert_eq!(values(file("_SEM_seg-myelin.png")), [0.0, 255.0, 0.0]);
    assert_eq!(values(file("_SEM_seg-axonmyelin.png")), [0.0, 127.0, 255.0]);
    assert_eq!(values(file("_desc-confidence_SEM.png")), [255.0, 128.0, 0.0]);
    let expected = json!({
        "Quality": {"score": 0.9}, "PixelSize": [0.13, 0.13], "PixelSizeUnits": "um", "Manual": false,
        "Sources": ["bids:source1:sub-1/micr/sub-1_sample-A_SEM.png"], "SourceFile": "sub-1_sample-A_SEM.png",
    });
    for ending in ["_SEM_seg-axon.json", "_SEM_seg-axonmyelin.json", "_desc-confidence_SEM.json"] {
        assert_eq!(json(file(ending)), expected);
    }
    let expected = json!({
        "Name": "Masks by synlabel", "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "synlabel", "Version": "1.0", "Description": "Masks by a model"}],
        "SourceDatasets": [{"URL": "../.."}], "DatasetLinks": {"source1": "../.."},
    });
    assert_eq!(json(root.join("dataset_description.json")), expected);
    assert!(root.join("sub-2/ses-b/micr/sub-2_ses-b_sample-A_SEM_seg-axon.png").is_file());
}

#[test]
fn images_elsewhere_without_bids_names_are_told_by_their_url() {
    let [source, out] = [folder(&["a b/image 7.png"]), tempfile::tempdir().unwrap()];
    let root = out.path().join("labels");
    write_all(source.path(), &root);
    let sidecar = json(root.join("sub-image7/micr/sub-image7_sample-1_seg-axon.json"));
    assert_eq!(
        (&sidecar["SourceFile"], &sidecar["Sources"][0]),
        (&json!("image 7.png"), &json!("bids:source1:a%20b/image%207.png"))
    );
    let url = json(root.join("dataset_description.json"))["SourceDatasets"][0]["URL"].as_str().unwrap().to_string();
    assert!(url.starts_with("file:///") && !url.starts_with("file:////"), "{url}");
    let mut alone =
        Derivatives::create(&out.path().join("alone"), &program(), &[], &names(&["myelin", "axon"])).unwrap();
    alone.add(&discover(source.path()).unwrap().cases[0], &labels(), None, None, Map::new()).unwrap();
    alone.finish().unwrap();
    let sidecar = json(out.path().join("alone/sub-image7/micr/sub-image7_sample-1_seg-axon.json"));
    assert!(sidecar["Sources"][0].as_str().unwrap().starts_with("file:///") && sidecar["PixelSize"].is_null());
}

#[test]
fn the_folder_of_the_images_is_never_written_to() {
    let dir = bids_folder();
    for path in [dir.path().to_path_buf(), dir.path().join("sub-1"), dir.path().join(IMAGES[0])] {
        let error = Derivatives::create(&path, &program(), &[], &names(&["axon"])).unwrap_err().to_string();
        assert!(error.contains("there is something already, which is never overwritten"), "{error}");
    }
}

#[test]
fn classes_and_labels_that_masks_cannot_show_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels");
    let create = |class: &str| Derivatives::create(&path, &program(), &[], &names(&[class]));
    for class in ["a/b", "a b", "soma-Manual", "axonmyelin", "a_seg-b"] {
        assert!(create(class).unwrap_err().to_string().contains("cannot be named"), "{class}");
    }
    let source = bids_folder();
    let case = &discover(source.path()).unwrap().cases[0];
    let mut derivatives = create("soma-left").unwrap();
    let unjudged = LabelMap::new(1, 3, vec![0, 1, IGNORE]);
    let error = derivatives.add(case, &unjudged, None, None, Map::new()).unwrap_err().to_string();
    assert!(error.contains("nobody judged") && error.contains("sub-1_sample-A_SEM"), "{error}");
    let confidence = Plane::new(3, 1, vec![0.0; 3]);
    let binary = LabelMap::new(1, 3, vec![0, 1, 0]);
    let error = derivatives.add(case, &binary, None, Some(&confidence), Map::new()).unwrap_err().to_string();
    assert!(error.contains("its confidence 1 x 3"), "{error}");
    assert!(derivatives.finish().unwrap_err().to_string().contains("there is no image"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
