//! The binary driven from outside, on phantoms.

mod datasets;
mod large;
mod pseudo;
mod reading;
mod report;
mod segment;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use synlabel::imaging::{self, BitDepth, Plane};
use synlabel::phantom::{Look, draw};
use synlabel::random::Stream;
use tempfile::TempDir;

/// Networks and crops so small that a step takes a fraction of a second.
const TINY: &str = r#"
epochs = 2
iterations_per_epoch = 2
batch = 1
[validation]
crops = 2
reference_crops = 4
[networks]
crop = 32
[networks.generator]
width = 8
multipliers = [1, 1]
blocks = 1
latent_dim = 4
style_dim = 8
mapping_layers = 1
[networks.translator]
width = 4
blocks = 1
[networks.time_discriminator]
width = 2
time_dim = 8
[networks.patch_discriminator]
width = 4
"#;

/// A folder with two sets of phantoms and the settings of tiny networks.
struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        for (name, look) in [("labelled", Look::DarkMyelin), ("target", Look::BrightMyelin)] {
            fs::create_dir(lab.path(name)).unwrap();
            for i in 0..3u64 {
                let phantom = draw(look, 48, 40, &Stream::new(1).child(name).child(i));
                let path = lab.path(name).join(format!("nerve_{i}.png"));
                imaging::write(&path, &phantom.image, BitDepth::Eight, None).unwrap();
            }
        }
        fs::write(lab.path("tiny.toml"), TINY).unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs synlabel in the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::cargo_bin("synlabel").unwrap().current_dir(self.folder.path()).args(arguments).output().unwrap()
    }

    fn train(&self, run: &str, further: &[&str]) -> Output {
        let mut arguments =
            vec!["train", "--labelled", "labelled", "--target", "target", "--config", "tiny.toml", "-o"];
        arguments.push(run);
        arguments.extend(further);
        self.run(&arguments)
    }
}

#[track_caller]
fn succeeds(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr
}

/// The sentence on standard error of a command that must fail.
#[track_caller]
fn fails(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should have failed: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The networks of a checkpoint, by file name. (The optimisers' files hold their tensors in no fixed order; that they are
/// restored shows in the weights of the iterations after the restart.)
fn networks(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bpk"))
        .filter(|path| !path.to_string_lossy().contains("optimiser"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn trains_translates_and_evaluates() {
    let lab = Lab::new();
    succeeds(lab.train("run", &[]));
    let run = lab.path("run");
    for name in ["config.toml", "data.json", "metrics.csv", "curves.png", "panels/epoch_0002.png"] {
        assert!(run.join(name).is_file(), "{name} is missing");
    }
    assert_eq!(fs::read_dir(run.join("events")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count(), 3);

    // Sixteen bits in, sixteen bits out; names and sizes stay; samples come with their spread.
    let deep = lab.path("deep.tif");
    let image = Plane::from_fn(50, 37, |y, x| (y * 37 + x) as f32 / (50.0 * 37.0));
    imaging::write(&deep, &image, BitDepth::Sixteen, None).unwrap();
    succeeds(lab.run(&[
        "translate",
        "-m",
        "run",
        "-i",
        "deep.tif",
        "labelled",
        "-o",
        "out",
        "--to",
        "target",
        "--samples",
        "2",
    ]));
    let translated = imaging::read(&lab.path("out").join("deep.tif")).unwrap();
    assert_eq!((translated.plane.height(), translated.plane.width(), translated.depth), (50, 37, BitDepth::Sixteen));
    let spread = imaging::read(&lab.path("out").join("deep_sd.tif")).unwrap();
    assert!(spread.plane.pixels().iter().any(|v| *v > 0.0));
    assert_eq!(fs::read_dir(lab.path("out")).unwrap().count(), 8);

    let again = ["translate", "-m", "run", "-i", "deep.tif", "-o", "again", "--to", "target", "--samples", "2"];
    succeeds(lab.run(&again));
    assert_eq!(fs::read(lab.path("out/deep.tif")).unwrap(), fs::read(lab.path("again/deep.tif")).unwrap());

    let table =
        succeeds(lab.run(&["evaluate", "translation", "-m", "run", "--labelled", "labelled", "--target", "target"]));
    assert!(table.contains("labelled → target → labelled") && table.contains("trained on"), "{table}");
    let rows = fs::read_to_string(run.join("evaluation/evaluation.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + 6);
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("evaluation/evaluation.json")).unwrap()).unwrap();
    assert!(json["domains"]["labelled"]["ssim"]["mean"].as_f64().unwrap() <= 1.0);
    assert!(json["domains"]["target"]["closeness"]["translated"].as_f64().unwrap() > 0.0);
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_goes_on_to_the_same_weights_bit_for_bit() {
    let lab = Lab::new();
    let settings = ["--iterations-per-epoch", "6"];
    succeeds(lab.train("straight", &settings));

    let program = assert_cmd::cargo::cargo_bin("synlabel");
    let arguments = ["train", "--labelled", "labelled", "--target", "target", "--config", "tiny.toml", "-o", "stopped"];
    let mut child = std::process::Command::new(program)
        .current_dir(lab.folder.path())
        .args(arguments)
        .args(settings)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The folder appears when the networks are about to be built; the interrupt then falls into the first epoch.
    while !lab.path("stopped/events").is_dir() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let manifest = fs::read_to_string(lab.path("stopped/last/checkpoint.json")).unwrap();
    let step = serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["progress"]["step"].as_u64().unwrap();
    assert!((1..12).contains(&step), "stopped at step {step} of 12, which shows nothing");

    succeeds(lab.run(&["train", "--resume", "-o", "stopped"]));
    let (straight, stopped) = (networks(&lab.path("straight/last")), networks(&lab.path("stopped/last")));
    assert_eq!(straight.len(), 3);
    for ((name, straight), (_, stopped)) in straight.iter().zip(&stopped) {
        assert!(straight == stopped, "{name} differs");
    }
    let rows = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(lab.path(run).join("metrics.csv")).unwrap();
        // All but the third column, the seconds.
        let without_seconds = |line: &str| {
            line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
        };
        text.lines().map(without_seconds).collect()
    };
    assert_eq!(rows("straight"), rows("stopped"));
}

#[test]
fn resuming_with_other_settings_or_other_images_is_refused() {
    let lab = Lab::new();
    succeeds(lab.train("run", &["--epochs", "1"]));
    let error = fails(lab.run(&["train", "--resume", "-o", "run", "--batch", "2"]));
    assert!(error.contains("batch = 1") && error.contains("batch = 2"), "{error}");
    let error = fails(lab.run(&["train", "--resume", "-o", "run", "--target-hold-out", "nerve_1,nerve_2"]));
    assert!(
        error.contains("run: data.target.hold_out = []   asked: data.target.hold_out = [\"nerve_1\", \"nerve_2\"]"),
        "{error}"
    );
    let error = fails(lab.train("run", &[]));
    assert!(error.contains("--resume"), "{error}");
    fs::rename(lab.path("target/nerve_0.png"), lab.path("target/other.png")).unwrap();
    let error = fails(lab.run(&["train", "--resume", "-o", "run"]));
    assert!(error.contains("not those it was trained on"), "{error}");
}

#[test]
fn a_checkpoint_cut_short_is_refused_with_its_name() {
    let lab = Lab::new();
    succeeds(lab.train("run", &["--epochs", "1"]));
    let weights = lab.path("run/best/average.bpk");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let error = fails(lab.run(&["translate", "-m", "run", "-i", "labelled", "-o", "out", "--to", "target"]));
    assert!(error.contains("average.bpk") && error.contains("bytes"), "{error}");
    // The other checkpoint still works.
    succeeds(lab.run(&["translate", "-m", "run", "--last", "-i", "labelled", "-o", "out", "--to", "target"]));
    let error = fails(lab.run(&["translate", "-m", "labelled", "-i", "target", "-o", "out", "--to", "target"]));
    assert!(error.contains("config.toml"), "{error}");
}

#[test]
fn bad_images_are_left_out_with_a_reason_and_none_left_is_an_error() {
    let lab = Lab::new();
    let good = fs::read(lab.path("labelled/nerve_0.png")).unwrap();
    fs::write(lab.path("labelled/cut.png"), &good[..good.len() / 2]).unwrap();
    fs::write(lab.path("labelled/text.png"), "this is not an image").unwrap();
    imaging::write(&lab.path("labelled/blank.png"), &Plane::from_fn(40, 40, |_, _| 0.5), BitDepth::Eight, None)
        .unwrap();
    let mask = Plane::from_fn(40, 40, |y, _| if y < 20 { 0.0 } else { 1.0 });
    imaging::write(&lab.path("labelled/stripes.png"), &mask, BitDepth::Eight, None).unwrap();
    let told = succeeds(lab.train("run", &["--epochs", "1", "--iterations-per-epoch", "1"]));
    assert!(told.contains("left out 4 files"), "{told}");
    for name in ["cut.png", "text.png", "blank.png", "stripes.png"] {
        assert!(told.contains(name), "{name} is not named: {told}");
    }

    fs::create_dir(lab.path("bad")).unwrap();
    fs::copy(lab.path("labelled/text.png"), lab.path("bad/text.png")).unwrap();
    let error = fails(lab.run(&["train", "--labelled", "bad", "--target", "target", "-o", "none"]));
    assert!(error.contains("bad") && error.contains("text.png"), "{error}");
    assert!(!lab.path("none").exists(), "nothing is left behind");
}

#[test]
fn wrong_folders_and_sizes_are_refused_before_training() {
    let lab = Lab::new();
    let error = fails(lab.run(&["train", "--labelled", "nowhere", "--target", "target", "-o", "run"]));
    assert!(error.contains("nowhere"), "{error}");
    fs::create_dir(lab.path("empty")).unwrap();
    let error = fails(lab.run(&["train", "--labelled", "empty", "--target", "target", "-o", "run"]));
    assert!(error.contains("empty") && error.contains("tif"), "{error}");
    let error = fails(lab.train("run", &["--crop", "33"]));
    assert!(error.contains("33") && error.contains("such as 34"), "{error}");
    let error = fails(lab.train("run", &["--precision", "bf16"]));
    assert!(error.contains("graphics"), "{error}");
    let error = fails(lab.train("run", &["--device", "abacus"]));
    assert!(error.contains("abacus") && error.contains("cpu"), "{error}");
    let error = fails(lab.train("run", &["--pixel-size-um", "0.1"]));
    assert!(error.contains("--labelled-pixel-size-um"), "{error}");
    let error = fails(lab.train("run", &["--target-hold-out", "nerve_7"]));
    assert!(error.contains("no subject nerve_7 to hold out; subjects: nerve_0, nerve_1, nerve_2"), "{error}");
    assert!(!lab.path("run").exists());
}

#[test]
fn small_images_are_mirrored_and_said_so_once() {
    let lab = Lab::new();
    let told = succeeds(lab.train("run", &["--crop", "64", "--epochs", "1", "--iterations-per-epoch", "1"]));
    assert_eq!(told.matches("are mirrored").count(), 2, "once for each domain: {told}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_checkpoint() {
    let lab = Lab::new();
    fs::write(lab.path("wild.toml"), format!("{TINY}\n[learning_rate]\ngenerators = 1e30\n")).unwrap();
    let arguments = ["train", "--labelled", "labelled", "--target", "target", "--config", "wild.toml", "-o", "run"];
    let error = fails(lab.run(&arguments));
    assert!(error.contains("is not finite at step"), "{error}");
    assert!(!lab.path("run/last.partial").exists());
}

#[test]
fn outputs_never_overwrite_inputs_or_one_another() {
    let lab = Lab::new();
    succeeds(lab.train("run", &["--epochs", "1", "--iterations-per-epoch", "1"]));
    let error = fails(lab.run(&["translate", "-m", "run", "-i", "labelled", "-o", "labelled", "--to", "target"]));
    assert!(error.contains("overwritten"), "{error}");
    let error = fails(lab.run(&["translate", "-m", "run", "-i", "labelled", "target", "-o", "out", "--to", "target"]));
    assert!(error.contains("two inputs are called nerve_0.png"), "{error}");
}

#[test]
fn imports_a_published_checkpoint_and_translates_with_it() {
    let lab = Lab::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let checkpoint = golden.join("gen_diffusive_1_10.pth");
    let options = r#"{"image_size": 32, "num_channels_dae": 16, "n_mlp": 2, "ch_mult": [1, 1, 2],
        "num_res_blocks": 1, "attn_resolutions": [8], "nz": 12, "z_emb_dim": 24}"#;
    fs::write(lab.path("options.json"), options).unwrap();
    let import = ["import", "-i", checkpoint.to_str().unwrap(), "--config", "options.json", "-o", "run"];
    assert!(succeeds(lab.run(&import)).contains("--to labelled"));
    succeeds(lab.run(&["translate", "-m", "run", "-i", "target", "-o", "out", "--to", "labelled"]));
    let error = fails(lab.run(&["translate", "-m", "run", "-i", "labelled", "-o", "out2", "--to", "target"]));
    assert!(error.contains("without a generator that makes target images"), "{error}");
}

#[test]
fn verify_replays_a_folder_and_fails_on_a_changed_number() {
    let lab = Lab::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::create_dir(lab.path("golden")).unwrap();
    let copy = lab.path("golden/fir_resampling_other_name.safetensors");
    fs::copy(golden.join("fir_resampling.safetensors"), &copy).unwrap();
    assert!(succeeds(lab.run(&["verify", "golden", "--device", "cpu"])).contains("all 1 files agree"));
    let mut bytes = fs::read(&copy).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e3f32.to_le_bytes());
    fs::write(&copy, bytes).unwrap();
    let output = lab.run(&["verify", "golden"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("OVER"));
    assert!(fails(lab.run(&["verify", "labelled"])).contains("ncsnpp_"));
}

#[test]
fn devices_lists_the_processor() {
    let lab = Lab::new();
    let table = succeeds(lab.run(&["devices"]));
    assert!(table.contains("cpu") && table.contains("yes"), "{table}");
}
