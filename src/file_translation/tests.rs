use super::*;
use crate::imaging::{self, BitDepth, Intensity};

/// Blocks at nearly a quarter of the resolution, each a group, or at a ninth, four by four in a group; so that they are
/// quick.
#[test]
fn blocks_made_after_a_stop_and_in_shares_join_to_what_one_go_gives() {
    for (size, working_um, first, draws) in [([530, 520], 0.38, 1, 1), ([2060, 520], 0.9, 9, 2)] {
        made_in_parts_as_in_one_go(size, working_um, first, draws);
    }
}

/// `first` blocks are passed over or made before the stop.
fn made_in_parts_as_in_one_go(size: [usize; 2], working_um: f64, first: usize, draws: u64) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let image = Plane::from_fn(size[0], size[1], |y, x| ((3 * y + 7 * x) % 101) as f32 / 100.0);
    imaging::write(&at("in.tif"), &image, BitDepth::Sixteen, Some(0.1)).unwrap();
    let source = ImageSource::open(&at("in.tif"), None).unwrap();
    let intensity = source.fit(Intensity::Automatic, &mut |_| ()).unwrap();
    let format = Format::full(source.depth(), source.pixel_size_um());
    let translator = ImageTranslator::tiny(64);
    let job = Translation { translator: &translator, to: Domain::Target, working_um: Some(working_um), draws };
    let noise = Stream::new(5);
    let large = |name: &str| LargeImage {
        source: &source,
        pixel_size_um: Some(0.1),
        intensity,
        format,
        mean: at(name),
        deviation: Some(at(&format!("sd_{name}"))),
        settings: "these",
    };
    let run = |name: &str, shard: Option<&str>, blocks: usize| {
        let part = Part { shard: shard.map(|text| text.parse().unwrap()), groups_before: 0 };
        let (stop, mut made) = (AtomicBool::new(false), 0);
        let mut on_block = || {
            made += 1;
            stop.store(made == blocks, Ordering::Relaxed);
        };
        job.large_image(&large(name), part, &noise, &stop, &mut on_block).unwrap()
    };
    assert_eq!(run("once.tif", None, 99), Standing::Finished);
    assert_eq!(run("parts.tif", Some("2/2"), first), Standing::Stopped);
    assert_eq!(run("parts.tif", Some("2/2"), 99), Standing::ShareFinished);
    assert!(!at("parts.tif").exists());
    assert_eq!(run("parts.tif", None, 99), Standing::Finished);
    assert_eq!(std::fs::read(at("once.tif")).unwrap(), std::fs::read(at("parts.tif")).unwrap());
    assert!(!BlockFolder::beside(&at("parts.tif")).exists() && at("sd_parts.tif").is_file());

    let whole = |window: &Window| source.plane(window, &intensity);
    let drawn = job.window(size, Some(0.1), &source.window(), &noise, whole).unwrap();
    let written = ImageSource::open(&at("once.tif"), None).unwrap();
    assert_eq!((written.depth(), written.pixel_size_um()), (BitDepth::Sixteen, Some(0.1)));
    let written = written.plane(&source.window(), &format.intensity).unwrap();
    let differences = drawn.mean.pixels().iter().zip(written.pixels()).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f32::max);
    assert!(largest < 1e-4, "{largest}: more than 16-bit steps and the last digits of sums");
}

#[test]
fn mean_and_deviation_are_those_of_the_draws() {
    let drawn = Drawn::of(&[Plane::new(1, 2, vec![0.2, 0.5]), Plane::new(1, 2, vec![0.6, 0.5])]);
    let close =
        |plane: &Plane, expected: [f32; 2]| plane.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(&drawn.mean, [0.4, 0.5]) && close(&drawn.deviation, [0.2, 0.0]));
}
