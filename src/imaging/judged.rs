//! Tests in which Python's tifffile is the judge: it reads what we write, and writes what we read.
//!
//! `SYNLABEL_PYTHON` names an interpreter that has tifffile and imagecodecs, `python3` if unset. Without it the tests
//! say so and pass, unless `SYNLABEL_REQUIRE_TIFFFILE` is set.

use super::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the judge says of the files in a folder, or nothing where there is no judge.
fn judge(action: &str, folder: &Path) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge_tiff.py");
    let python = std::env::var("SYNLABEL_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_judge = Command::new(&python).args(["-c", "import tifffile, imagecodecs"]).output();
    if !has_judge.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("SYNLABEL_REQUIRE_TIFFFILE").is_none(), "{python} has no tifffile and imagecodecs");
        println!("skipped: {python} has no tifffile and imagecodecs");
        return None;
    }
    let output = Command::new(&python).arg(script).arg(action).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut tiffs: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|end| end == "tif")).collect();
    tiffs.sort();
    tiffs
}

#[test]
fn what_tifffile_writes_is_read_to_the_last_digit_whole_and_in_windows() {
    let dir = tempfile::tempdir().unwrap();
    if judge("write", dir.path()).is_none() {
        return;
    }
    let tiffs = files(dir.path());
    assert!(tiffs.len() > 300, "{} files", tiffs.len());
    for path in tiffs {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = ImageSource::open(&path, None).unwrap_or_else(|error| panic!("{error}"));
        let window = source.window();
        let truth = ImageSource::open(&path.with_extension("npy"), None).unwrap();
        let Samples::Double(expected) = truth.samples(&window).unwrap() else { panic!("the truth has 64 bits") };
        let found = source.samples(&window).unwrap();
        // The luma of colours is a float of 32 bits; a JPEG decoder may differ by a level.
        let is_colour = ["rgb", "planar", "palette"].iter().any(|part| name.contains(part));
        let tolerance = |expected: f64| match is_colour {
            true => 4e-7 * expected.abs().max(1.0),
            false => f64::from(u8::from(name.starts_with("jpeg"))),
        };
        with_numbers!(&found, numbers => for (i, (number, expected)) in numbers.iter().zip(&expected).enumerate() {
            let number = Into::<f64>::into(*number);
            let is_right = (number - expected).abs() <= tolerance(*expected);
            assert!(is_right, "{name}, pixel {i}: {number} is not {expected}");
        });
        // Every pixel was compared.
        assert_eq!(found.len(), expected.len(), "{name}");
        let size = name.starts_with("size").then_some(0.0476);
        let is_right = match (source.pixel_size_um(), size) {
            (Some(found), Some(size)) => (found / size - 1.0).abs() < 1e-12,
            (found, size) => found == size,
        };
        assert!(is_right, "{name}: {:?}", source.pixel_size_um());
        Raster::read(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// What the judge finds in a file.
#[derive(Debug, Deserialize)]
struct Found {
    name: String,
    axes: String,
    shape: [usize; 2],
    dtype: String,
    pages: usize,
    tiled: bool,
    ome: bool,
    pixel_size_um: Option<serde_json::Value>,
    values: Vec<f64>,
}

const KINDS: [(BitDepth, &str); 9] = [
    (BitDepth::Eight, "uint8"),
    (BitDepth::Sixteen, "uint16"),
    (BitDepth::Unsigned32, "uint32"),
    (BitDepth::Signed8, "int8"),
    (BitDepth::Signed16, "int16"),
    (BitDepth::Signed32, "int32"),
    (BitDepth::Float16, "float16"),
    (BitDepth::Float32, "float32"),
    (BitDepth::Float64, "float64"),
];

/// Numbers that every kind holds exactly.
fn numbers(height: usize, width: usize) -> Vec<f64> {
    (0..height * width).map(|i| ((i * 37) % 128) as f64).collect()
}

#[test]
fn what_is_written_here_is_read_by_tifffile_with_its_pixel_size() {
    let dir = tempfile::tempdir().unwrap();
    let (height, width, size) = (30, 600, 0.0476);
    let expected = numbers(height, width);
    for (depth, kind) in KINDS {
        // The numbers stand for 0 to 127 of the map, so that grey values come back as they were.
        let format = Format { depth, intensity: IntensityMap { low: 0.0, high: 127.0 }, pixel_size_um: Some(size) };
        let pixels = expected.iter().map(|number| (number / 127.0) as f32).collect();
        let plane = Plane::new(height, width, pixels);
        for end in ["tif", "ome.tif"] {
            write_as(&dir.path().join(format!("rows_{kind}.{end}")), &plane, &format).unwrap();
            let path = dir.path().join(format!("tiles_{kind}.{end}"));
            let mut writer = TileWriter::create(&path, height, width, &format).unwrap();
            for tile in [1, 0] {
                let columns = writer.window(tile).columns;
                let part = Plane::from_fn(height, columns.len(), |y, x| plane.get(y, columns.start + x));
                writer.write_plane(tile, &part).unwrap();
            }
            writer.finish().unwrap();
        }
    }
    let Some(said) = judge("read", dir.path()) else { return };
    let all: Vec<Found> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), 4 * KINDS.len());
    for found in all {
        let name = &found.name;
        assert_eq!((found.axes.as_str(), found.shape, found.pages), ("YX", [height, width], 1), "{name}");
        let kind = name.split(['_', '.']).nth(1).unwrap();
        assert_eq!((found.dtype.as_str(), found.tiled), (kind, name.starts_with("tiles")), "{name}");
        assert_eq!(found.ome, name.ends_with(".ome.tif"), "{name}");
        let said: Option<f64> =
            found.pixel_size_um.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
        assert_eq!(said, Some(size), "{name}");
        let tolerance = if kind.starts_with("float") { 1e-2 } else { 0.0 };
        let is_right = |(found, expected): (&f64, &f64)| (found - expected).abs() <= tolerance;
        assert!(found.values.iter().zip(&expected).all(is_right), "{name}");
    }
}
