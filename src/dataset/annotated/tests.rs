use super::super::{Format, read_labels};
use super::*;
use image::GrayImage;
use std::fs;
use tempfile::TempDir;

/// A folder with files: images of one row where pixels are given; of others the names alone count.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, pixels) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match pixels {
            [] => fs::write(path, "{}").unwrap(),
            pixels => GrayImage::from_raw(pixels.len() as u32, 1, pixels.to_vec()).unwrap().save(path).unwrap(),
        }
    }
    dir
}

fn found(files: &[(&str, &[u8])]) -> (TempDir, AnnotatedDataset) {
    let dir = folder(files);
    let annotated = discover_annotated(dir.path()).unwrap();
    (dir, annotated)
}

fn refused(files: &[(&str, &[u8])]) -> String {
    discover_annotated(folder(files).path()).unwrap_err().to_string()
}

/// The mask files of each case below the folder, with their encodings.
fn masks(dir: &TempDir, annotated: &AnnotatedDataset) -> Vec<Vec<(String, Encoding)>> {
    let name = |path: &Path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_string();
    let of_case = |source: &MaskSource| {
        source.files.iter().map(|file| (name(&file.path), file.encoding.clone())).collect::<Vec<_>>()
    };
    annotated.masks.iter().map(of_case).collect()
}

fn file(name: &str, encoding: Encoding) -> (String, Encoding) {
    (name.to_string(), encoding)
}

#[test]
fn a_bids_folder_gives_one_mask_for_each_class_by_a_human_if_there_is_one() {
    let labels = "derivatives/labels/sub-1/micr/sub-1_SEM";
    let (dir, annotated) = found(&[
        ("dataset_description.json", &[]),
        ("sub-1/micr/sub-1_SEM.png", &[]),
        ("sub-2/micr/sub-2_SEM.png", &[]),
        (&format!("{labels}_seg-axon.png"), &[]),
        (&format!("{labels}_seg-axon-manual.png"), &[]),
        (&format!("{labels}_seg-myelin-manual.png"), &[]),
        (&format!("{labels}_seg-axonmyelin-manual.png"), &[]),
    ]);
    assert_eq!(annotated.dataset.format, Format::Bids);
    assert_eq!(annotated.classes, ["myelin", "axon"]);
    let expected = [
        file(&format!("{labels}_seg-axon-manual.png"), Encoding::Binary(2)),
        file(&format!("{labels}_seg-myelin-manual.png"), Encoding::Binary(1)),
    ];
    assert_eq!(masks(&dir, &annotated), [expected]);
    assert_eq!(annotated.dataset.cases[0].subject, "sub-1");
    assert_eq!(annotated.unlabelled, [dir.path().join("sub-2/micr/sub-2_SEM.png")]);
    assert_eq!((annotated.dataset.masks.len(), annotated.dataset.notes.len()), (2, 0));
}

#[cfg(unix)]
#[test]
fn a_mask_that_is_a_link_to_nothing_is_told() {
    let dir = folder(&[("images/x.png", &[]), ("derivatives/labels/x_seg-axon.png", &[]), ("images/y.png", &[])]);
    let link = dir.path().join("derivatives/labels/y_seg-axon.png");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let annotated = discover_annotated(dir.path()).unwrap();
    assert_eq!((annotated.unlabelled.len(), &annotated.dataset.skipped[0].path), (1, &link));
}

#[test]
fn axon_and_myelin_in_one_file_serve_where_they_are_not_both_apart() {
    let (dir, annotated) = found(&[
        ("a.png", &[]),
        ("a_seg-axonmyelin.png", &[]),
        ("a_seg-axon.png", &[]),
        ("a_seg-uaxon.png", &[]),
        ("b.tif", &[]),
        ("b_seg-axonmyelin-manual.png", &[]),
        ("b_seg-axon.png", &[]),
        ("b_seg-myelin.png", &[]),
        ("b_seg-uaxon-instance.png", &[]),
    ]);
    assert_eq!((annotated.dataset.format, annotated.dataset.masks.len()), (Format::AxonDeepSeg, 3));
    assert_eq!(annotated.classes, ["axon", "myelin", "uaxon"]);
    let both = Encoding::Greys(vec![(127, 2), (128, 2), (255, 1)]);
    let expected = [
        vec![file("a_seg-axonmyelin.png", both.clone()), file("a_seg-uaxon.png", Encoding::Binary(3))],
        vec![file("b_seg-axonmyelin-manual.png", both), file("b_seg-uaxon-instance.png", Encoding::Objects(3))],
    ];
    assert_eq!(masks(&dir, &annotated), expected);
}

#[test]
fn a_plain_folder_may_keep_object_masks_in_derivatives() {
    let (dir, annotated) = found(&[("images/x.png", &[]), ("derivatives/labels/x_seg-nuclei-instance.png", &[])]);
    assert_eq!(
        (annotated.dataset.format, annotated.classes.as_slice()),
        (Format::Pairs, ["nuclei".to_string()].as_slice())
    );
    let expected = [[file("derivatives/labels/x_seg-nuclei-instance.png", Encoding::Objects(1))]];
    assert_eq!(masks(&dir, &annotated), expected);
}

#[test]
fn masks_without_a_class_name_are_understood_by_their_values() {
    let (dir, annotated) = found(&[
        ("Train/image_1.png", &[]),
        ("Train/mask_1.png", &[0, 127]),
        ("Train/image_2.png", &[]),
        ("Train/mask_2.png", &[0, 255]),
    ]);
    assert_eq!(annotated.classes, ["myelin", "axon"]);
    let greys = Encoding::Greys(vec![(127, 1), (255, 2)]);
    let expected = [[file("Train/mask_1.png", greys.clone())], [file("Train/mask_2.png", greys)]];
    assert_eq!(masks(&dir, &annotated), expected);
    let labels = read_labels(annotated.masks_of(&annotated.dataset.cases[1]).unwrap(), [1, 2], None).unwrap();
    assert_eq!(labels.map.classes(), [0, 2]);

    let (dir, annotated) = found(&[("x.png", &[]), ("x_mask.png", &[0, 255])]);
    assert_eq!(annotated.classes, ["foreground"]);
    assert_eq!(masks(&dir, &annotated), [[file("x_mask.png", Encoding::Greys(vec![(255, 1)]))]]);

    let (dir, annotated) = found(&[("images/x.tif", &[]), ("labels/x.png", &[0, 1, 2])]);
    assert_eq!(annotated.classes, ["class_1", "class_2"]);
    assert_eq!(masks(&dir, &annotated), [[file("labels/x.png", Encoding::Numbers(2))]]);
}

#[test]
fn folders_for_training_need_no_description_and_tests_stay_apart() {
    let (dir, annotated) = found(&[
        ("imagesTr/x_0000.png", &[]),
        ("imagesTs/x_0000.png", &[]),
        ("labelsTr/x.png", &[0, 1, 2]),
        ("labelsTs/x.png", &[0, 1, 2]),
    ]);
    assert_eq!((annotated.dataset.format, annotated.dataset.cases.len()), (Format::Pairs, 1));
    assert_eq!(masks(&dir, &annotated), [[file("labelsTr/x.png", Encoding::Numbers(2))]]);
    assert!(annotated.dataset.notes[0].contains("1 files lie in imagesTs"), "{:?}", annotated.dataset.notes);
}

#[test]
fn what_the_user_says_a_folder_is_holds() {
    let bids = [("dataset_description.json", [].as_slice()), ("a.png", &[]), ("a_seg-axon.png", &[])];
    let dir = folder(&bids);
    let format = |asked| discover_annotated_as(dir.path(), asked).map(|annotated| annotated.dataset.format);
    assert_eq!(format(None).unwrap(), Format::Bids);
    for asked in [Format::AxonDeepSeg, Format::Pairs, Format::Bids] {
        assert_eq!(format(Some(asked)).unwrap(), asked);
    }
    assert!(format(Some(Format::Plain)).unwrap_err().to_string().contains("plain images have no masks"));
    assert!(format(Some(Format::NnUnet)).unwrap_err().to_string().contains("no dataset.json"));
}

#[test]
fn images_of_one_name_in_several_folders_keep_their_own_masks() {
    let (dir, annotated) = found(&[
        ("train/images/1.png", &[]),
        ("train/masks/1.png", &[0, 255]),
        ("test/images/1.png", &[]),
        ("test/masks/2.png", &[0, 255]),
    ]);
    assert_eq!(masks(&dir, &annotated), [[file("train/masks/1.png", Encoding::Greys(vec![(255, 1)]))]]);
    assert_eq!(annotated.unlabelled, [dir.path().join("test/images/1.png")]);
    assert!(annotated.dataset.notes[0].contains("1 masks belong to no image"), "{:?}", annotated.dataset.notes);
    assert_eq!(annotated.dataset.masks, [dir.path().join("test/masks/2.png")]);
}

#[test]
fn doubtful_masks_are_refused() {
    let same = refused(&[("a.png", &[]), ("a_seg-axon.png", &[]), ("masks/a_seg-axon.tif", &[])]);
    assert!(same.contains("remove one of them") && same.contains("a_seg-axon.tif"), "{same}");
    let two_images = refused(&[("x/a.png", &[]), ("y/a.png", &[]), ("masks/a.png", &[0, 255])]);
    assert!(two_images.contains("x/a.png") && two_images.contains("y/a.png"), "{two_images}");
}

#[test]
fn an_image_that_lacks_a_class_is_refused() {
    let error = refused(&[("a.png", &[]), ("a_seg-axon.png", &[]), ("b.png", &[]), ("b_seg-myelin.png", &[])]);
    assert!(error.contains("1 of its 2 images") && error.contains("no mask of myelin"), "{error}");
    assert!(error.contains("a.png") && error.contains("empty mask"), "{error}");
}

#[test]
fn a_folder_without_masks_is_refused_with_the_names_that_work() {
    let error = refused(&[("a.png", &[]), ("b.png", &[])]);
    assert!(error.contains("none of its 2 images") && error.contains("NAME_seg-CLASS.png"), "{error}");
}
