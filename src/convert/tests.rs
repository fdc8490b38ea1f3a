use super::*;
use crate::imaging::{BitDepth, write, write_labels};
use std::fs;
use tempfile::TempDir;

fn photograph(seed: usize) -> Plane {
    Plane::from_fn(6, 9, |y, x| ((7 * y + 3 * x + seed) % 53) as f32 / 52.0)
}

/// Three images with masks of axon and myelin beside them, one without, one of 16 bits, and the table of subjects.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (seed, name) in ["a", "b", "c"].iter().enumerate() {
        let depth = if seed == 1 { BitDepth::Sixteen } else { BitDepth::Eight };
        write(&at(&format!("{name}.png")), &photograph(seed), depth, None).unwrap();
        let mask = (0..54).map(|i| [0, 127, 255][(i + seed) % 3]).collect();
        write_labels(&at(&format!("{name}_seg-axonmyelin.png")), &LabelMap::new(6, 9, mask)).unwrap();
    }
    write(&at("d.tif"), &photograph(9), BitDepth::Sixteen, Some(0.25)).unwrap();
    let table = "file\tsubject\tpixel_size_um\na.png\tmouse 1\t0.1\nb.png\tmouse 1\t0.07\nc.png\tmouse 2\tn/a\n";
    fs::write(at("subjects.tsv"), table).unwrap();
    dir
}

/// Every file of a folder with its bytes.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn converted(dir: &Path, out: &Path, layout: &Layout) -> Result<Converted> {
    convert(dir, out, layout, &ConvertOptions::default(), |_, _| {})
}

#[test]
fn a_folder_becomes_bids_and_nnunet_and_each_becomes_the_other() {
    let (dir, outputs) = (folder(), tempfile::tempdir().unwrap());
    let before = content(dir.path());
    let at = |name: &str| outputs.path().join(name);
    let bids = Layout::Bids { suffix: "TEM".to_string() };
    let first = converted(dir.path(), &at("bids"), &bids).unwrap();
    assert_eq!((first.images, first.with_masks, first.failed.as_slice()), (4, 3, [].as_slice()));
    assert!(first.notes.iter().any(|note| note.contains("pixel size of 1 images is not known")), "{:?}", first.notes);
    let again = converted(&at("bids"), &at("Dataset001_Back"), &Layout::NnUnet).unwrap();
    assert_eq!((again.images, again.with_masks), (4, 3));
    let tests: Vec<_> = fs::read_dir(at("Dataset001_Back/imagesTs")).unwrap().collect();
    assert_eq!(tests.len(), 1, "an image without a mask is one to predict");
    let last = converted(&at("Dataset001_Back"), &at("bids_again"), &bids).unwrap();
    assert_eq!((last.images, last.with_masks), (3, 3));
    let annotated = dataset::discover_annotated(&at("bids_again")).unwrap();
    assert_eq!(annotated.classes, ["myelin", "axon"]);
    let found: Vec<_> =
        annotated.dataset.cases.iter().map(|case| (case.subject.as_str(), case.pixel_size_um)).collect();
    assert_eq!(found, [("sub-mouse1", Some(0.1)), ("sub-mouse1", Some(0.07)), ("sub-mouse2", None)]);
    assert_eq!(content(dir.path()), before, "the original is as it was");
}

#[test]
fn bad_files_are_told_and_cost_no_other() {
    let (dir, outputs) = (folder(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.png"), "no image").unwrap();
    write_labels(&dir.path().join("b_seg-axonmyelin.png"), &LabelMap::new(6, 9, vec![77; 54])).unwrap();
    let out = outputs.path().join("Dataset002_Nerve");
    let converted = converted(dir.path(), &out, &Layout::NnUnet).unwrap();
    assert_eq!((converted.images, converted.with_masks), (2, 1));
    let failed: Vec<&str> = converted.failed.iter().map(|failed| failed.reason.as_str()).collect();
    assert!(failed[0].contains("it is no PNG") && failed[1].contains("--mask-threshold"), "{failed:?}");
}

#[test]
fn objects_keep_their_numbers_in_bids() {
    let (dir, outputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("images")).unwrap();
    fs::create_dir_all(dir.path().join("derivatives/labels")).unwrap();
    write(&dir.path().join("images/x.png"), &photograph(0), BitDepth::Eight, None).unwrap();
    let objects = LabelMap::new(6, 9, (0..54).map(|i| i / 9).collect());
    write_labels(&dir.path().join("derivatives/labels/x_seg-nuclei-instance.png"), &objects).unwrap();
    let out = outputs.path().join("bids");
    converted(dir.path(), &out, &Layout::Bids { suffix: "FLUO".to_string() }).unwrap();
    let masks = out.join("derivatives/labels/sub-x/micr");
    let copied = fs::read(masks.join("sub-x_sample-1_FLUO_seg-nuclei-instance.png")).unwrap();
    assert_eq!(copied, fs::read(dir.path().join("derivatives/labels/x_seg-nuclei-instance.png")).unwrap());
    assert!(masks.join("sub-x_sample-1_FLUO_seg-nuclei.png").is_file());
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_remedy() {
    let (dir, outputs) = (folder(), tempfile::tempdir().unwrap());
    let message =
        |out: &str, layout: &Layout| converted(dir.path(), &outputs.path().join(out), layout).unwrap_err().to_string();
    assert!(message("nerves", &Layout::NnUnet).contains("Dataset101_Nerve"));
    assert!(message("bids", &Layout::Bids { suffix: String::new() }).contains("give --suffix"));
    let plain = tempfile::tempdir().unwrap();
    write(&plain.path().join("a.png"), &photograph(0), BitDepth::Eight, None).unwrap();
    let error = converted(plain.path(), &outputs.path().join("Dataset001_a"), &Layout::NnUnet).unwrap_err();
    assert!(error.to_string().contains("convert it to BIDS"), "{error}");
    assert_eq!(fs::read_dir(outputs.path()).unwrap().count(), 0, "nothing is left behind");
}
