use super::*;
use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, RgbImage};
use tempfile::TempDir;

/// A folder in which masks of one row are written.
struct Masks(TempDir);

impl Masks {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn eight(&self, name: &str, values: &[u8]) -> PathBuf {
        GrayImage::from_raw(values.len() as u32, 1, values.to_vec()).unwrap().save(self.path(name)).unwrap();
        self.path(name)
    }

    fn sixteen(&self, name: &str, values: &[u16]) -> PathBuf {
        let image: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(values.len() as u32, 1, values.to_vec()).unwrap();
        image.save(self.path(name)).unwrap();
        self.path(name)
    }
}

fn source<const N: usize>(files: [(PathBuf, Encoding); N]) -> MaskSource {
    MaskSource { files: files.map(|(path, encoding)| MaskFile { path, encoding }).to_vec() }
}

/// The classes in one mask file of one row of six pixels, or the message of the error.
fn read(path: PathBuf, encoding: Encoding, threshold: Option<u8>) -> std::result::Result<Vec<u8>, String> {
    let labels = read_labels(&source([(path, encoding)]), [1, 6], threshold).map_err(|error| error.to_string())?;
    assert_eq!(labels.note, None);
    Ok(labels.map.classes().to_vec())
}

fn axon_and_myelin() -> Encoding {
    Encoding::Greys(vec![(127, 1), (128, 1), (255, 2)])
}

#[test]
fn exact_masks_are_read_whatever_the_threshold() {
    let masks = Masks::new();
    let cases = [
        (masks.eight("a.png", &[0, 255, 0, 255, 0, 0]), Encoding::Binary(3), [0, 3, 0, 3, 0, 0]),
        (masks.eight("b.png", &[0, 1, 0, 1, 0, 0]), Encoding::Binary(1), [0, 1, 0, 1, 0, 0]),
        (masks.eight("c.png", &[0; 6]), Encoding::Binary(1), [0; 6]),
        (masks.eight("d.png", &[0, 127, 128, 255, 0, 0]), axon_and_myelin(), [0, 1, 1, 2, 0, 0]),
        (masks.eight("e.png", &[0, 1, 2, 3, 0, 0]), Encoding::Numbers(3), [0, 1, 2, 3, 0, 0]),
        (masks.eight("i.png", &[0, 1, 2, 3, 0, 0]), Encoding::NumbersAndIgnore(2), [0, 1, 2, IGNORE, 0, 0]),
        (masks.sixteen("f.png", &[0, 65535, 0, 0, 0, 0]), Encoding::Binary(1), [0, 1, 0, 0, 0, 0]),
        (masks.sixteen("g.png", &[0, 127 * 257, 65535, 0, 0, 0]), axon_and_myelin(), [0, 1, 2, 0, 0, 0]),
        (masks.sixteen("h.tif", &[0, 1, 2, 300, 40000, 0]), Encoding::Objects(1), [0, 1, 1, 1, 1, 0]),
    ];
    for (path, encoding, expected) in cases {
        for threshold in [None, Some(1), Some(200), Some(255)] {
            assert_eq!(read(path.clone(), encoding.clone(), threshold).unwrap(), expected, "{}", path.display());
        }
    }
}

#[test]
fn stray_values_are_refused_with_their_counts_and_the_remedy() {
    let masks = Masks::new();
    let error = read(masks.eight("a.png", &[0, 255, 130, 233, 130, 1]), Encoding::Binary(1), None).unwrap_err();
    let parts = ["a.png", "4 of its 6 pixels", "0 and 255", "2 x 130, 1 x 1, 1 x 233", "--mask-threshold 200"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    let error = read(masks.eight("b.png", &[0, 127, 255, 126, 1, 2]), axon_and_myelin(), None).unwrap_err();
    assert!(error.contains("0, 127, 128 and 255") && error.contains("half"), "{error}");
    let wrong_number = masks.eight("c.png", &[0, 1, 2, 255, 0, 0]);
    for threshold in [None, Some(200)] {
        let error = read(wrong_number.clone(), Encoding::Numbers(2), threshold).unwrap_err();
        assert!(error.contains("numbers from 0 to 2") && !error.contains("threshold"), "{error}");
        let error = read(wrong_number.clone(), Encoding::NumbersAndIgnore(1), threshold).unwrap_err();
        assert!(error.contains("numbers from 0 to 2") && error.contains("1 x 255"), "{error}");
    }
}

#[test]
fn a_threshold_decides_what_stray_values_are() {
    let masks = Masks::new();
    let binary = masks.eight("a.png", &[0, 128, 199, 200, 233, 255]);
    assert_eq!(read(binary, Encoding::Binary(1), Some(200)).unwrap(), [0, 0, 0, 1, 1, 1]);
    let greys = masks.eight("b.png", &[0, 63, 64, 199, 200, 255]);
    assert_eq!(read(greys, axon_and_myelin(), Some(200)).unwrap(), [0, 0, 1, 1, 2, 2]);
    let wide = masks.sixteen("c.png", &[0, 63 * 257, 64 * 257, 200 * 257 - 1, 200 * 257, 65535]);
    assert_eq!(read(wide, axon_and_myelin(), Some(200)).unwrap(), [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_threshold_that_leaves_nothing_or_everything_is_refused() {
    let masks = Masks::new();
    let numbers = masks.eight("a.png", &[0, 1, 2, 3, 0, 0]);
    let error = read(numbers.clone(), axon_and_myelin(), Some(200)).unwrap_err();
    assert!(error.contains("go up to 3 only"), "{error}");
    assert!(read(numbers, Encoding::Binary(1), Some(0)).unwrap_err().contains("from 1 to 255"));
}

#[test]
fn where_masks_overlap_the_higher_class_wins_and_much_of_it_is_noted() {
    let masks = Masks::new();
    let axon = masks.eight("axon.png", &[255, 255, 0, 0]);
    let myelin = masks.eight("myelin.png", &[0, 255, 255, 0]);
    let both = [(axon, Encoding::Binary(2)), (myelin, Encoding::Binary(1))];
    let mut reversed = both.clone();
    reversed.reverse();
    for files in [both, reversed] {
        let labels = read_labels(&source(files), [1, 4], None).unwrap();
        assert_eq!(labels.map.classes(), [2, 2, 1, 0]);
        let note = labels.note.unwrap();
        assert!(note.contains("33.3 %") && note.contains("axon.png"), "{note}");
    }
}

#[test]
fn alpha_and_equal_channels_are_grey_and_colours_are_refused() {
    let masks = Masks::new();
    let [alpha, grey, colour] = ["alpha.png", "grey.png", "colour.png"].map(|name| masks.path(name));
    GrayAlphaImage::from_raw(6, 1, [[0, 255], [255, 0]].as_flattened().repeat(3)).unwrap().save(&alpha).unwrap();
    assert_eq!(read(alpha, Encoding::Binary(1), None).unwrap(), [0, 1, 0, 1, 0, 1]);
    RgbImage::from_raw(6, 1, [[0; 3], [127; 3], [255; 3]].as_flattened().repeat(2)).unwrap().save(&grey).unwrap();
    assert_eq!(read(grey, axon_and_myelin(), None).unwrap(), [0, 1, 2, 0, 1, 2]);
    RgbImage::from_raw(6, 1, [[0; 3], [255, 0, 0]].as_flattened().repeat(3)).unwrap().save(&colour).unwrap();
    assert!(read(colour, Encoding::Binary(1), Some(50)).unwrap_err().contains("in colours"));
}

#[test]
fn a_mask_of_another_size_or_none_at_all_is_refused() {
    let masks = Masks::new();
    let error = read(masks.eight("a.png", &[0, 255]), Encoding::Binary(1), None).unwrap_err();
    assert!(error.contains("2 x 1") && error.contains("6 x 1"), "{error}");
    std::fs::write(masks.path("b.png"), "text").unwrap();
    assert!(read(masks.path("b.png"), Encoding::Objects(1), None).unwrap_err().contains("b.png"));
}

/// The classes that masks without a class name are found to have, one for each value.
fn guess(files: &[&[u8]]) -> std::result::Result<Vec<(u16, String)>, String> {
    let masks = Masks::new();
    let paths: Vec<PathBuf> = files.iter().enumerate().map(|(i, f)| masks.eight(&format!("{i}.png"), f)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    guess_greys(masks.0.path(), &paths).map_err(|error| error.to_string())
}

#[test]
fn the_values_of_all_masks_together_tell_the_classes() {
    let named =
        |pairs: &[(u16, &str)]| pairs.iter().map(|(value, name)| (*value, name.to_string())).collect::<Vec<_>>();
    assert_eq!(guess(&[&[0, 0], &[0, 7]]).unwrap(), named(&[(7, "foreground")]));
    assert_eq!(guess(&[&[0, 127], &[0, 255]]).unwrap(), named(&[(127, "myelin"), (255, "axon")]));
    let mixed = named(&[(127, "myelin"), (128, "myelin"), (255, "axon")]);
    assert_eq!(guess(&[&[0, 127, 255], &[128, 255]]).unwrap(), mixed);
    assert_eq!(guess(&[&[0, 2], &[1, 3]]).unwrap(), named(&[(1, "class_1"), (2, "class_2"), (3, "class_3")]));
}

#[test]
fn rare_values_do_not_hide_a_mask_of_0_and_255() {
    let smoothed: Vec<u8> = [[0; 200], [255; 200]].concat().into_iter().chain([60, 130, 233]).collect();
    assert_eq!(guess(&[&smoothed]).unwrap(), [(255, "foreground".to_string())]);
}

#[test]
fn values_that_tell_no_classes_are_refused_with_names_that_do() {
    for values in [&[0, 1, 3][..], &[0, 1, 255], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[0, 60, 130, 255]] {
        let error = guess(&[values]).unwrap_err();
        assert!(error.contains("NAME_seg-CLASS.png") && error.contains("0.png"), "{error}");
    }
    assert!(guess(&[&[0, 0]]).unwrap_err().contains("nothing but 0"));
}

#[test]
fn an_unreadable_mask_is_passed_over_in_guessing_unless_it_is_the_only_one() {
    let masks = Masks::new();
    let good = masks.eight("good.png", &[0, 255]);
    std::fs::write(masks.path("bad.png"), "").unwrap();
    let bad = masks.path("bad.png");
    assert_eq!(guess_greys(masks.0.path(), &[&bad, &good]).unwrap(), [(255, "foreground".to_string())]);
    assert!(guess_greys(masks.0.path(), &[&bad]).unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_single_mask_may_have_any_size_and_tells_its_largest_value() {
    let masks = Masks::new();
    let file = |path: PathBuf, encoding| MaskFile { path, encoding };
    let classes = |file: &MaskFile, threshold| {
        let labels = read_mask(file, threshold).map_err(|error| error.to_string());
        labels.map(|labels| labels.classes().to_vec())
    };
    let greys = file(masks.eight("a.png", &[0, 63, 64, 128, 199, 200, 255]), axon_and_myelin());
    assert_eq!(classes(&greys, Some(200)), Ok(vec![0, 0, 1, 1, 1, 2, 2]));
    assert_eq!(classes(&greys, Some(40)), Ok(vec![0, 2, 2, 2, 2, 2, 2]));
    assert!(classes(&greys, None).unwrap_err().contains("--mask-threshold 200"));
    assert!(classes(&greys, Some(0)).unwrap_err().contains("threshold of 0"));
    let deep = file(masks.sixteen("b.png", &[200 * 257 - 1, 200 * 257]), Encoding::Binary(1));
    assert_eq!(classes(&deep, Some(200)), Ok(vec![0, 1]));
    let numbers = file(masks.eight("c.png", &[0, 1, 2, 3]), Encoding::Numbers(2));
    let message = classes(&numbers, Some(200)).unwrap_err();
    assert!(message.contains("1 x 3") && message.contains("numbers from 0 to 2"), "{message}");
    assert_eq!(largest_value(&numbers.path).unwrap(), 3);
    assert_eq!(largest_value(&masks.sixteen("d.png", &[0, 65535])).unwrap(), 255);
    assert_eq!(largest_value(&masks.eight("e.png", &[0, 0])).unwrap(), 0);
}
