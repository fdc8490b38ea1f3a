use super::*;
use crate::imaging::{BitDepth, Plane, ReadOptions, write};
use std::fs;
use tempfile::TempDir;

/// A folder with files, empty unless they are sidecars or tables: discovery reads no pixels.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.cases.iter().map(|case| case.name.as_str()).collect()
}

fn subjects(dataset: &Dataset) -> Vec<&str> {
    dataset.cases.iter().map(|case| case.subject.as_str()).collect()
}

#[test]
fn a_plain_folder_is_searched_deeply_and_each_file_is_its_own_subject() {
    let dir = folder(&[
        ("b.PNG", ""),
        ("a/c.Tiff", ""),
        ("a/d.tif", ""),
        ("readme.txt", ""),
        (".hidden/e.png", ""),
        (".partial-1-a.png", ""),
        ("derivatives/labels/f.png", ""),
    ]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!((dataset.format, dataset.root.as_path()), (Format::Plain, dir.path()));
    assert_eq!(names(&dataset), ["c", "d", "b"]);
    assert_eq!(subjects(&dataset), names(&dataset));
    assert!(dataset.skipped.is_empty() && dataset.masks.is_empty() && dataset.notes.is_empty());
}

#[test]
fn masks_beside_images_are_kept_apart() {
    let dir = folder(&[("image_1.png", ""), ("mask_1.png", ""), ("x_seg-axon.png", ""), ("masks/x.png", "")]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!((names(&dataset), dataset.masks.len()), (vec!["image_1"], 3));
}

#[test]
fn a_bids_folder_gives_subjects_and_pixel_sizes() {
    let dir = folder(&[
        ("dataset_description.json", "{}"),
        ("sub-1/micr/sub-1_sample-A_SEM.png", ""),
        ("sub-2/micr/sub-2_sample-B_SEM.ome.tif", ""),
        ("sub-2/micr/sub-2_sample-C_SEM.png", ""),
        ("sub-2/micr/sub-2_SEM.json", r#"{"PixelSize": [100, 100], "PixelSizeUnits": "nm"}"#),
        ("sub-2/micr/sub-2_photo.png", ""),
        ("derivatives/labels/sub-1/micr/sub-1_sample-A_SEM_seg-axon-manual.png", ""),
    ]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!(dataset.format, Format::Bids);
    assert_eq!(names(&dataset), ["sub-1_sample-A_SEM", "sub-2_sample-B_SEM", "sub-2_sample-C_SEM"]);
    assert_eq!(subjects(&dataset), ["sub-1", "sub-2", "sub-2"]);
    let sizes: Vec<_> = dataset.cases.iter().map(|case| case.pixel_size_um).collect();
    assert_eq!(sizes, [None, Some(0.1), Some(0.1)]);
    assert_eq!(dataset.skipped.len(), 1);
}

#[test]
fn layouts_are_recognised_by_looking() {
    let format = |files: &[(&str, &str)]| discover(folder(files).path()).unwrap().format;
    let cases: [(&[&str], Format); 8] = [
        (&["dataset_description.json", "a.png"], Format::Bids),
        (&["sub-1/micr/sub-1_SEM.png"], Format::Bids),
        (&["sub-1/ses-a/micr/sub-1_ses-a_SEM.png"], Format::Bids),
        (&["dataset.json", "imagesTr/a_0000.png", "labelsTr/a.png"], Format::NnUnet),
        (&["imagesTr/a_0000.png", "labelsTr/a.png"], Format::Pairs),
        (&["image_1.png", "mask_1.png"], Format::Pairs),
        (&["x/a.png", "x/a_seg-axonmyelin.png"], Format::AxonDeepSeg),
        (&["a.png", "dataset.json"], Format::Plain),
    ];
    for (names, expected) in cases {
        let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "{}")).collect();
        assert_eq!(format(&files), expected, "{names:?}");
    }
}

#[test]
fn a_layout_that_is_asked_for_is_not_doubted() {
    let dir = folder(&[
        ("dataset_description.json", "{}"),
        ("sub-1/micr/sub-1_SEM.png", ""),
        ("sub-1/micr/mask_1.png", ""),
        ("sub-1/micr/image_1.png", ""),
    ]);
    let cases = |format| discover_as(dir.path(), format).unwrap().cases.len();
    assert_eq!((cases(None), cases(Some(Format::Pairs)), cases(Some(Format::Plain))), (2, 2, 3));
}

#[test]
fn every_suffix_of_bids_microscopy_is_read() {
    for suffix in BIDS_SUFFIXES {
        let (image, sidecar) = (format!("sub-1/micr/sub-1_sample-A_{suffix}.tif"), format!("{suffix}.json"));
        let size = r#"{"PixelSize": [0.2, 0.2], "PixelSizeUnits": "um"}"#;
        let dir = folder(&[("dataset_description.json", "{}"), (&image, ""), (&sidecar, size)]);
        let dataset = discover(dir.path()).unwrap();
        assert_eq!((dataset.cases[0].pixel_size_um, dataset.skipped.len()), (Some(0.2), 0), "{suffix}");
    }
}

#[test]
fn what_was_found_is_told_in_one_line() {
    let summary = |files: &[(&str, &str)]| discover(folder(files).path()).unwrap().summary();
    assert_eq!(summary(&[("a.png", ""), ("b.png", "")]), "plain folder, 2 images");
    let bids = [("sub-1/micr/sub-1_sample-A_SEM.png", ""), ("sub-1/micr/sub-1_sample-B_SEM.png", "")];
    assert_eq!(summary(&bids), "BIDS microscopy, 2 images of 1 subject");
}

#[test]
fn drawings_of_axondeepseg_and_test_images_are_left_aside_with_a_note() {
    let dir = folder(&[("a.png", ""), ("a_axonmyelin_index.png", ""), ("a_seg-axon.png", ""), ("b_index.png", "")]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!(names(&dataset), ["a", "b_index"]);
    assert!(dataset.notes[0].contains("1 files were drawn from the images"), "{:?}", dataset.notes);
    let dir = folder(&[("imagesTr/a_0000.png", ""), ("imagesTs/b_0000.png", ""), ("dataset.json", "{}")]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!(names(&dataset), ["a_0000"]);
    assert!(dataset.notes[0].contains("kept for a test"), "{:?}", dataset.notes);
    assert_eq!(names(&discover(&dir.path().join("imagesTs")).unwrap()), ["b_0000"]);
}

#[test]
fn a_table_of_subjects_is_used_and_its_gaps_are_noted() {
    let table = "file\tage\tsubject\na/x.png\t3\tmouse 1\r\ny.png\t3\tmouse 1\n\ngone.png\t3\tmouse 2\n";
    let dir = folder(&[("subjects.tsv", table), ("a/x.png", ""), ("a/y.png", ""), ("a/z.png", "")]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!(subjects(&dataset), ["mouse 1", "mouse 1", "z"]);
    assert_eq!(dataset.notes.len(), 2);
    assert!(dataset.notes[0].contains("gone.png") && dataset.notes[1].contains("1 images"), "{:?}", dataset.notes);
}

#[test]
fn a_table_of_subjects_may_tell_pixel_sizes() {
    let table = "file\tsubject\tpixel_size_um\nx.png\t1\t0.13\ny.png\t2\tn/a\nz.png\t3\n";
    let dir = folder(&[("subjects.tsv", table), ("x.png", ""), ("y.png", ""), ("z.png", "")]);
    let cases = discover(dir.path()).unwrap().cases;
    assert_eq!(cases.iter().map(|case| case.pixel_size_um).collect::<Vec<_>>(), [Some(0.13), None, None]);
}

#[test]
fn a_broken_table_of_subjects_is_refused() {
    let sizeless = "file\tsubject\tpixel_size_um\nx.png\t1\t-1\n";
    for table in ["", "file,subject\nx.png,1\n", "file\tsubject\nx.png\t\n", sizeless] {
        let dir = folder(&[("subjects.tsv", table), ("x.png", "")]);
        let error = discover(dir.path()).unwrap_err().to_string();
        assert!(error.contains("subjects.tsv"), "{error}");
    }
}

#[test]
fn folders_without_images_are_refused_with_the_remedy() {
    let empty = folder(&[]);
    let message = |path: &Path| discover(path).unwrap_err().to_string();
    assert!(message(&empty.path().join("missing")).contains("no such folder"));
    let text = message(empty.path());
    assert!(text.contains(".png, .tif, .jpg") && text.contains("sub-folders"), "{text}");
    let other = folder(&[("a.gif", ""), ("b.czi", ""), ("LICENSE", "")]);
    assert!(message(other.path()).contains("there are .czi, .gif files"), "{}", message(other.path()));
    assert!(message(&other.path().join("a.gif")).contains("it is a file"));
    let masks = folder(&[("masks/a.png", "")]);
    assert!(message(masks.path()).contains("only 1 masks"), "{}", message(masks.path()));
}

#[test]
fn files_and_folders_can_be_given_together_and_count_once() {
    let dir = folder(&[("x/a.png", ""), ("x/b.png", ""), ("y/a.png", ""), ("y/mask.png", ""), ("y/notes.txt", "")]);
    let at = |name: &str| dir.path().join(name);
    let dataset =
        discover_files(&[at("y/a.png"), at("x"), at("x/b.png"), at("y/mask.png"), at("y/notes.txt")], None).unwrap();
    assert_eq!(dataset.root, dir.path());
    assert_eq!(names(&dataset), ["x_a", "b", "y_a", "mask"]);
    assert!(dataset.skipped.len() == 1 && dataset.skipped[0].path == at("y/notes.txt"));
    assert!(discover_files(&[at("y/gone.png")], None).unwrap_err().to_string().contains("no such folder"));
    assert!(discover_files(&[at("y/notes.txt")], None).unwrap_err().to_string().contains("convert"));
    assert!(discover_files(&[], None).is_err());
}

#[test]
fn a_file_of_a_bids_folder_keeps_its_subject_and_pixel_size() {
    let dir = folder(&[
        ("dataset_description.json", "{}"),
        ("sub-1/micr/sub-1_SEM.png", ""),
        ("SEM.json", r#"{"PixelSize": 0.5, "PixelSizeUnits": "um"}"#),
    ]);
    for given in ["sub-1/micr/sub-1_SEM.png", "sub-1/micr", "sub-1", ""] {
        let dataset = discover_files(&[dir.path().join(given)], None).unwrap();
        assert_eq!((subjects(&dataset), dataset.cases[0].pixel_size_um), (vec!["sub-1"], Some(0.5)), "{given}");
    }
}

#[test]
fn a_bids_folder_inside_a_plain_one_keeps_its_subjects() {
    let dir = folder(&[
        ("rats/dataset_description.json", "{}"),
        ("rats/sub-1/micr/sub-1_sample-A_SEM.png", ""),
        ("rats/sub-1/micr/sub-1_sample-B_SEM.png", ""),
        ("rats/SEM.json", r#"{"PixelSize": 0.5, "PixelSizeUnits": "um"}"#),
        ("plain/x.png", ""),
    ]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!((dataset.format, dataset.root.as_path()), (Format::Bids, dir.path()));
    assert_eq!(subjects(&dataset), ["x", "sub-1", "sub-1"]);
    assert_eq!(dataset.cases[2].pixel_size_um, Some(0.5));
    let source = [("dataset_description.json", "{}"), ("sub-1/sub-1_SEM.png", ""), ("sourcedata/x/sub-1/a.png", "")];
    let dir = folder(&[source.as_slice(), &[("sourcedata/x/dataset_description.json", "{}")]].concat());
    let dataset = discover(dir.path()).unwrap();
    assert_eq!((dataset.cases.len(), dataset.skipped.len()), (1, 1));
}

#[test]
fn discovered_images_load_and_split() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10 {
        let plane = Plane::from_fn(4, 4, |y, x| (y * 4 + x + i) as f32 / 30.0);
        write(&dir.path().join(format!("{i}.tif")), &plane, BitDepth::Sixteen, Some(0.25)).unwrap();
    }
    let loaded = load(&discover(dir.path()).unwrap(), None, &ReadOptions::default()).unwrap();
    assert!(loaded.images.iter().all(|image| image.case.pixel_size_um == Some(0.25)));
    let subjects: Vec<&str> = loaded.images.iter().map(|image| image.case.subject.as_str()).collect();
    assert_eq!(split(&subjects, &[], 0).unwrap().train.len(), 8);
}

#[test]
fn the_developer_data_has_the_sizes_its_readme_states() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !root.is_dir() {
        eprintln!("not run: there is no {}", root.display());
        return;
    }
    let sem = load(&discover(&root.join("sem_rat_spinalcord")).unwrap(), None, &ReadOptions::default()).unwrap();
    let found: Vec<_> = sem.images.iter().map(|image| (image.plane.width(), image.case.pixel_size_um)).collect();
    let widths = [(1278, 0.18), (1280, 0.093), (737, 0.1), (769, 0.1), (764, 0.1), (822, 0.1), (1901, 0.13)];
    assert_eq!(found, widths.map(|(width, size)| (width, Some(size))));
    let tem = discover(&root.join("tem_peripheral_nerve")).unwrap();
    assert_eq!((tem.cases.len(), tem.masks.len()), (91, 91));
}

#[test]
fn images_of_every_format_are_found_and_previews_of_others_left_aside() {
    let names = ["a.ome.tif", "b.nii.gz", "c.npy", "d.JPG", "e.bmp", "a.jpg", "c_seg.npy"];
    let dir = folder(&names.map(|name| (name, "")));
    let dataset = discover(dir.path()).unwrap();
    let found: Vec<&str> = dataset.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
    let note = "1 files are called like an image of another format beside them, as previews are, and are left aside";
    assert!(dataset.notes.len() == 1 && dataset.notes[0].starts_with(note), "{:?}", dataset.notes);
}

#[test]
fn masks_belong_to_images_of_two_endings_too() {
    let dir = folder(&[("cell.ome.tif", ""), ("cell_mask.ome.tif", ""), ("x.nii.gz", ""), ("x_seg.nii.gz", "")]);
    let dataset = discover(dir.path()).unwrap();
    assert_eq!((dataset.cases.len(), dataset.masks.len()), (2, 2), "{:?}", dataset.masks);
}
