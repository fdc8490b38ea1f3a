//! How images are read, `--intensity` and `--page`, driven from outside.

use std::fs;
use std::path::Path;

use super::{Lab, fails, succeeds};
use synlabel::imaging::{self, BitDepth, Format, IntensityMap, Plane, write_as};
use synlabel::phantom::{Look, draw};
use synlabel::random::Stream;
use tiff::encoder::{TiffEncoder, colortype};

/// What a 12-bit camera makes of white, with 16 stored numbers for each of 8 bits.
const WHITE: u16 = 16 * 255;

/// An image of 8 bits as `eight/cell.png`, and as a 12-bit camera would have it as `sixteen/cell.tif`.
fn write_both(lab: &Lab) -> Plane {
    let image = draw(Look::BrightMyelin, 40, 44, &Stream::new(7)).image;
    fs::create_dir(lab.path("eight")).unwrap();
    fs::create_dir(lab.path("sixteen")).unwrap();
    for folder in ["eight", "sixteen"] {
        fs::write(lab.path(folder).join("pixel_size_in_micrometer.txt"), "0.0476").unwrap();
    }
    imaging::write(&lab.path("eight/cell.png"), &image, BitDepth::Eight, None).unwrap();
    let eight = imaging::read(&lab.path("eight/cell.png")).unwrap().plane;
    let intensity = IntensityMap { low: 0.0, high: WHITE.into() };
    let format = Format { intensity, ..Format::full(BitDepth::Sixteen, None) };
    write_as(&lab.path("sixteen/cell.tif"), &eight, &format).unwrap();
    eight
}

fn largest_difference(a: &Path, b: &Path) -> f32 {
    let [a, b] = [a, b].map(|path| imaging::read(path).unwrap().plane);
    assert_eq!([a.height(), a.width()], [b.height(), b.width()]);
    a.pixels().iter().zip(b.pixels()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_12_bit_camera_is_seen_as_8_bits_are_and_a_run_keeps_its_rule() {
    let lab = Lab::new();
    write_both(&lab);
    let told = succeeds(lab.train("run", &["--target-intensity", "range:0,4080"]));
    assert!(told.contains("target: 3 of 3 images are read between the stored numbers 0 and 4080"), "{told}");
    let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    assert!(config.contains("intensity = \"auto\"") && config.contains("intensity = \"range:0,4080\""), "{config}");
    let translate = |input: &str, out: &str, further: &[&str]| {
        let command = ["translate", "-m", "run", "-i", input, "-o", out, "--to", "labelled"];
        succeeds(lab.run(&[&command, further].concat()))
    };
    // The run's rule makes of the 16-bit image what the full range makes of 8 bits.
    let told = translate("sixteen", "a", &[]);
    assert!(told.contains("note: 1 of 1 images is read between the stored numbers 0 and 4080"), "{told}");
    let told = translate("eight", "b", &["--intensity", "full"]);
    assert!(!told.contains("--intensity"), "{told}");
    let step = 0.5 / 255.0 + 1e-4;
    assert!(largest_difference(&lab.path("a/cell.tif"), &lab.path("b/cell.png")) <= step);
    let written = ["a/cell.tif", "b/cell.png"].map(|name| imaging::read(&lab.path(name)).unwrap());
    assert_eq!(written.each_ref().map(|picture| picture.depth), [BitDepth::Sixteen, BitDepth::Eight]);
    // What a file beside the image tells goes into the translation.
    assert_eq!(written.map(|picture| picture.pixel_size_um), [Some(0.0476); 2]);
    let told = translate("sixteen", "c", &["--intensity", "auto"]);
    assert!(told.contains("1 of 1 images holds more than 8 bits and is read between its percentiles"), "{told}");
    // Before there were rules, runs read the full range.
    let old: Vec<&str> = config.lines().filter(|line| !line.starts_with("intensity")).collect();
    fs::write(lab.path("run/config.toml"), old.join("\n")).unwrap();
    let told = translate("sixteen", "d", &[]);
    assert!(told.contains("dark over its full range"), "{told}");
    assert!(largest_difference(&lab.path("a/cell.tif"), &lab.path("d/cell.tif")) > step);
    let told =
        fails(lab.run(&["translate", "-m", "run", "-i", "eight", "-o", "e", "--to", "target", "--intensity", "x"]));
    assert!(told.contains("the intensity rule x is not known; give auto, full"), "{told}");
}

#[test]
fn check_tells_how_images_are_read() {
    let lab = Lab::new();
    write_both(&lab);
    let told = succeeds(lab.run(&["check", "-i", "sixteen"]));
    assert!(told.contains("1 of 1 images holds more than 8 bits and is read between its percentiles"), "{told}");
    let told = succeeds(lab.run(&["check", "-i", "sixteen", "--intensity", "range:0,4080"]));
    assert!(told.contains("read between the stored numbers 0 and 4080"), "{told}");
    let told = fails(lab.run(&["check", "-i", "sixteen", "--target-intensity", "full"]));
    assert!(told.contains("give --labelled and --target"), "{told}");
}

/// A stack of three pages that differ, `stack/cell.tif`; the second by itself as `page/cell.tif`.
fn write_stack(lab: &Lab) {
    fs::create_dir(lab.path("stack")).unwrap();
    fs::create_dir(lab.path("page")).unwrap();
    let file = fs::File::create(lab.path("stack/cell.tif")).unwrap();
    let mut encoder = TiffEncoder::new(file).unwrap();
    for page in 1..=3u64 {
        let image = draw(Look::BrightMyelin, 40, 44, &Stream::new(page)).image;
        let values: Vec<u8> = image.pixels().iter().map(|value| (value * 255.0).round() as u8).collect();
        encoder.write_image::<colortype::Gray8>(44, 40, &values).unwrap();
        if page == 2 {
            imaging::write(&lab.path("page/cell.tif"), &image, BitDepth::Eight, None).unwrap();
        }
    }
}

/// What a file holds; of a check, which names the folder, the mean grey of the image.
fn content(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.ends_with("check.json") {
        let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        return report["sets"][0]["images"][0]["mean"].as_f64().unwrap().to_le_bytes().to_vec();
    }
    bytes
}

#[test]
fn a_page_of_a_stack_is_used_as_if_it_were_a_file_of_its_own() {
    let lab = Lab::new();
    write_stack(&lab);
    succeeds(lab.train("run", &[]));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet/nnUNetTrainer__nnUNetPlans__2d");
    let commands: [(&[&str], &str); 4] = [
        (&["translate", "-m", "run", "--to", "labelled"], "cell.tif"),
        (&["segment", "predict", "-m", model.to_str().unwrap()], "cell.png"),
        (&["convert", "--as", "bids", "--suffix", "SEM"], "sub-cell/micr/sub-cell_sample-1_SEM.png"),
        (&["check"], "check.json"),
    ];
    for (command, file) in commands {
        let run = |folder: &str, out: &str, further: &[&str]| {
            let out = format!("{}_{out}", command[0]);
            let output = lab.run(&[command, &["-i", folder, "-o", &out], further].concat());
            let told = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
            (output.status.success(), told, lab.path(&out).join(file))
        };
        let (_, told, made) = run("stack", "unsaid", &[]);
        let reason = "it has 3 pages or slices, and only one image can be used: give --page with a number from 1 to 3";
        assert!(told.contains(reason), "{told}");
        assert!(!made.is_file() || command == ["check"], "{command:?}");
        let (is_done, told, of_stack) = run("stack", "chosen", &["--page", "2"]);
        assert!(is_done, "{told}");
        let (is_done, told, alone) = run("page", "alone", &[]);
        assert!(is_done, "{told}");
        assert_eq!(content(&of_stack), content(&alone), "{command:?}");
        let (is_done, told, _) = run("page", "refused", &["--page", "2"]);
        assert!(!is_done && told.contains("it is a single image; leave --page out"), "{told}");
    }
}

#[test]
fn a_run_is_trained_on_a_page_and_goes_on_with_it() {
    let lab = Lab::new();
    write_stack(&lab);
    for (name, seed) in [("b", 4), ("c", 5)] {
        let image = draw(Look::BrightMyelin, 40, 44, &Stream::new(seed)).image;
        let values: Vec<u8> = image.pixels().iter().map(|value| (value * 255.0).round() as u8).collect();
        let mut encoder = TiffEncoder::new(fs::File::create(lab.path(&format!("stack/{name}.tif"))).unwrap()).unwrap();
        (0..2).for_each(|_| encoder.write_image::<colortype::Gray8>(44, 40, &values).unwrap());
    }
    let train = |further: &[&str]| {
        let command = ["train", "--labelled", "labelled", "--target", "stack", "--config", "tiny.toml", "-o", "run"];
        lab.run(&[&command, further].concat())
    };
    let told = fails(train(&[]));
    assert!(told.contains("give --page with a number"), "{told}");
    let told = fails(train(&["--page", "2"]));
    assert!(told.contains("it is a single image"), "the labelled images have no pages: {told}");
    succeeds(train(&["--target-page", "2"]));
    assert!(fs::read_to_string(lab.path("run/config.toml")).unwrap().contains("page = 2"));
    succeeds(lab.run(&["train", "--resume", "-o", "run"]));
    let told = fails(lab.run(&["train", "--resume", "-o", "run", "--target-page", "1"]));
    assert!(told.contains("data.target.page = 2") && told.contains("data.target.page = 1"), "{told}");
}
