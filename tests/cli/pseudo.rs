//! `synlabel tutor`, `adapt` and `compare` driven from outside.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::AtomicBool;

use assert_cmd::Command;
use burn::tensor::Device;
use serde_json::Value;
use synlabel::dataset::discover_annotated;
use synlabel::demo::DemoFolder;
use synlabel::domain::Domain;
use synlabel::imaging::{self, BitDepth, LabelMap, Plane};
use synlabel::phantom::{Look, draw};
use synlabel::pseudo::inputs::InputOptions;
use synlabel::pseudo::translation::Orientation;
use synlabel::pseudo::{Approach, Pipeline, PipelineOptions, Results, TranslatorChoice};
use synlabel::random::Stream;
use synlabel::training::{self, Start};
use tempfile::TempDir;

use super::{TINY, fails, succeeds};

/// Phantoms of both looks with masks, settings of tiny networks, and a plan for a tiny segmentation model.
fn lab() -> TempDir {
    let lab = tempfile::tempdir().unwrap();
    for (name, look) in [("labelled", Look::DarkMyelin), ("target", Look::BrightMyelin)] {
        fs::create_dir_all(lab.path().join(name).join("masks")).unwrap();
        for i in 0..4u64 {
            let phantom = draw(look, 48, 40, &Stream::new(1).child(name).child(i));
            let image = format!("{name}_{i}");
            write_image(&lab.path().join(name).join(format!("{image}.png")), &phantom.image);
            let greys = phantom.labels.classes().iter().map(|class| [0, 127, 255][usize::from(*class)]).collect();
            let mask = lab.path().join(name).join(format!("masks/{image}_seg-axonmyelin.png"));
            imaging::write_labels(&mask, &LabelMap::new(48, 40, greys)).unwrap();
        }
    }
    fs::write(lab.path().join("tiny.toml"), TINY).unwrap();
    let plan = ["--base-features", "4", "--max-patch", "32", "--epochs", "2", "--iterations-per-epoch", "3"];
    let planned = ["segment", "train", "-i", "labelled", "-o", "planned", "--plan-only", "--folds", "2"];
    succeeds(run(&lab, &[&planned[..], &plan].concat()));
    lab
}

fn write_image(path: &Path, plane: &Plane) {
    imaging::write(path, plane, BitDepth::Eight, None).unwrap();
}

fn run(lab: &TempDir, arguments: &[&str]) -> Output {
    Command::cargo_bin("synlabel").unwrap().current_dir(lab.path()).args(arguments).output().unwrap()
}

/// What makes everything tiny.
const SMALL: [&str; 8] = ["--config", "tiny.toml", "--time", "full", "--folds", "2", "--draws", "2"];

fn tutor(lab: &TempDir, further: &[&str]) -> Output {
    let arguments =
        ["tutor", "--labelled", "labelled", "--target", "target", "--segmenter", "planned/plan.toml", "-o", "out"];
    run(lab, &[&arguments[..], &SMALL, further].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_tutorship_hands_over_masks_and_does_again_only_what_changed() {
    let lab = lab();
    let out = lab.path().join("out");
    let planned = succeeds(tutor(&lab, &["--truth", "target", "--dry-run"]));
    assert!(
        planned.contains("translated_labelled") && planned.contains("to do") && planned.contains("total"),
        "{planned}"
    );
    assert!(!out.exists(), "a dry run writes nothing");

    let said = succeeds(tutor(&lab, &["--truth", "target"]));
    assert!(said.contains("[6/6] labels_tutorship") && said.contains("look at these first"), "{said}");
    for name in ["report.html", "report.json", "images.csv", "scores.csv", "figures.json"] {
        assert!(out.join(name).is_file(), "{name} is missing");
    }
    for ending in [".png", "_seg-axon.png", "_seg-myelin.png", "_seg-axonmyelin.png", "_confidence.png"] {
        assert!(out.join(format!("labels_tutorship/target_0{ending}")).is_file(), "{ending} is missing");
    }
    // Two folds, each of the draw of its number.
    assert!(out.join("proxy/fold_1/best").is_dir() && out.join("translated_labelled/labelled_0_draw2.png").is_file());
    let raw = discover_annotated(&out.join("nnUNet_raw/Dataset501_pseudo")).unwrap();
    assert_eq!((raw.dataset.cases.len(), raw.classes.join(", ")), (4, "myelin, axon".to_string()));
    let description = json(&out.join("derivatives/synlabel/dataset_description.json"));
    assert_eq!(description["GeneratedBy"][0]["Name"], "synlabel");

    let again = succeeds(tutor(&lab, &["--truth", "target"]));
    assert_eq!(again.matches("done before").count(), 6, "{again}");

    let changed = Plane::from_fn(48, 40, |y, x| ((3 * y + 5 * x) % 29) as f32 / 28.0);
    write_image(&lab.path().join("target/target_3.png"), &changed);
    let said = succeeds(tutor(&lab, &["--truth", "target"]));
    assert!(said.contains("again, since target images changed"), "{said}");
    assert!(out.join("labels_tutorship.old-1/target_0.png").is_file());
}

#[test]
fn a_comparison_takes_every_approach_and_says_which_to_use() {
    let lab = lab();
    let arguments = ["compare", "--labelled", "labelled", "--target", "target", "--truth", "target", "-o", "out"];
    let further = ["--plan", "planned/plan.toml", "--hold-out", "target_3", "--rounds", "2", "--min-structure", "0.05"];
    let said = succeeds(run(&lab, &[&arguments[..], &SMALL, &further].concat()));
    assert!(said.contains("1 of them kept out of all training") && said.contains("Round 2"), "{said}");
    let out = lab.path().join("out");
    let figures = json(&out.join("figures.json"));
    let approaches = figures["results"]["approaches"].as_array().unwrap();
    assert_eq!(approaches.len(), 9, "six without training on translations, two rounds, one supervised");
    for approach in approaches {
        let images = approach["scored"]["scores"]["images"].as_array().unwrap();
        assert!(images.iter().all(|scores| scores["image"] == "target_3") && images.len() == 2, "{approach}");
    }
    assert!(!figures["verdict"]["sentences"].as_array().unwrap().is_empty());
    // The held-out image is in no training.
    let split = json(&out.join("translator/data.json"));
    assert_eq!(split["split"]["target"]["test"], serde_json::json!(["target_3"]));
    let folds = fs::read_to_string(out.join("supervised/data.json")).unwrap();
    assert!(folds.contains("target_0") && !folds.contains("target_3"), "{folds}");

    // What a tutorship trained serves an adaptation, and a held-out subject that was learnt from is found out.
    let adapt = ["adapt", "--target", "target", "--segmenter", "out/labelled_model", "-o", "adapted"];
    let said = succeeds(run(&lab, &[&adapt[..], &["-m", "out/translator", "--draws", "1"]].concat()));
    assert!(said.contains("Adaptation") && said.contains("a guess"), "{said}");
    assert!(lab.path().join("adapted/labels_adaptation/target_2.png").is_file());
    let leaking = [&adapt[..], &["-m", "out/translator", "--hold-out", "target_0", "--truth", "target"]].concat();
    let error = fails(run(&lab, &leaking));
    assert!(error.contains("it was trained on target_0, which is to be held out"), "{error}");
    // The other way round: what was the target is labelled.
    let back = ["tutor", "--labelled", "target", "--target", "labelled", "-m", "out/translator", "--exchanged"];
    let small = ["-o", "back", "--segmenter", "planned/plan.toml", "--time", "full", "--folds", "1", "--draws", "1"];
    succeeds(run(&lab, &[&back[..], &small].concat()));
    assert!(lab.path().join("back/labels_tutorship/labelled_0_seg-axon.png").is_file());
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_trained() {
    let lab = lab();
    let error = fails(tutor(&lab, &["--truth", "target", "--hold-out", "sub-9"]));
    assert!(error.contains("no subject sub-9") && error.contains("target_0, target_1"), "{error}");

    fs::create_dir(lab.path().join("empty")).unwrap();
    let arguments = ["tutor", "--labelled", "labelled", "--target", "empty", "-o", "out"];
    let error = fails(run(&lab, &arguments));
    assert!(error.contains("empty") && error.contains("there is no .png"), "{error}");

    let nuclei = lab.path().join("nuclei");
    fs::create_dir(&nuclei).unwrap();
    fs::copy(lab.path().join("target/target_0.png"), nuclei.join("target_0.png")).unwrap();
    let mask = LabelMap::new(48, 40, (0..48 * 40).map(|i| if i % 7 == 0 { 255 } else { 0 }).collect());
    imaging::write_labels(&nuclei.join("target_0_seg-nuclei.png"), &mask).unwrap();
    let error = fails(tutor(&lab, &["--truth", "nuclei"]));
    assert!(error.contains("masks of myelin, axon, and the truth has masks of nuclei"), "{error}");

    // The same of a model that comes from elsewhere, and of a translator that works at a pixel size.
    let sizes = ["--labelled-pixel-size-um", "0.1", "--target-pixel-size-um", "0.1"];
    let train = ["train", "--labelled", "labelled", "--target", "target", "--config", "tiny.toml", "-o", "run"];
    succeeds(run(&lab, &[&train[..], &sizes].concat()));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet/nnUNetTrainer__nnUNetPlans__2d");
    let adapt = ["adapt", "-m", "run", "--segmenter", model.to_str().unwrap(), "--target", "target", "-o", "out"];
    for training in [&["--contrast", "kept"][..], &["--balance-crops"], &["--epochs", "3"]] {
        let error = fails(run(&lab, &[&adapt[..], training].concat()));
        let named = error.contains(training[0]) && error.contains("'--translator <RUN>'");
        assert!(named && error.contains("cannot be used with"), "{error}");
    }
    let error = fails(run(&lab, &[&adapt[..], &["--truth", "nuclei"]].concat()));
    assert!(error.contains("and the truth has masks of nuclei"), "{error}");
    let error = fails(run(&lab, &adapt));
    assert!(error.contains("its pixel size is not known") && error.contains("--target-pixel-size-um"), "{error}");

    // True masks of one held-out image only: there is nothing left for a supervised model, which is said at once.
    let compare = ["compare", "--labelled", "labelled", "--target", "target", "--truth", "one", "-o", "out"];
    fs::create_dir(lab.path().join("one")).unwrap();
    for file in ["target_0.png", "masks/target_0_seg-axonmyelin.png"] {
        let name = Path::new(file).file_name().unwrap();
        fs::copy(lab.path().join("target").join(file), lab.path().join("one").join(name)).unwrap();
    }
    let said = succeeds(run(&lab, &[&compare[..], &SMALL, &["--hold-out", "target_0", "--dry-run"]].concat()));
    assert!(said.contains("only held-out images have true masks") && !said.contains("supervised  "), "{said}");
    let said = succeeds(run(&lab, &[&compare[..], &SMALL, &["--dry-run"]].concat()));
    assert!(said.contains("all true masks are of one subject") && !said.contains("labels_supervised"), "{said}");

    let error = fails(tutor(&lab, &["--min-structure", "3"]));
    assert!(error.contains("--min-structure is a share of 0 to 1"), "{error}");
    assert!(!lab.path().join("out").exists());
}

/// Dice of an approach, mean over the classes and the phantoms that no training saw.
fn dice(results: &Results, approach: Approach) -> f64 {
    results.of(approach).and_then(|result| result.dice()).unwrap()
}

/// What the strategies must at least be better than the model of the other look as it is.
const MARGIN: f64 = 0.2;

#[test]
fn both_strategies_beat_the_untranslated_model_where_the_contrast_is_inverted() {
    let lab = tempfile::tempdir().unwrap();
    let folder = DemoFolder::new(lab.path());
    folder.draw().unwrap();
    // Four target phantoms that the translator never sees.
    let unseen = lab.path().join("unseen");
    fs::create_dir_all(unseen.join("masks")).unwrap();
    for name in &folder.pipeline().unwrap().inputs.held_out {
        for file in [format!("{name}.png"), format!("masks/{name}_seg-axonmyelin.png")] {
            fs::rename(folder.images(Domain::Target).join(&file), unseen.join(&file)).unwrap();
        }
    }
    let stop = AtomicBool::new(false);
    let (run, settings) = (lab.path().join("run"), Start::New(Box::new(folder.config())));
    training::train(&run, settings, &Device::flex(), &stop, &mut |_| ()).unwrap();

    let demo = folder.pipeline().unwrap();
    let inputs = InputOptions { target: unseen.clone(), truth: Some(unseen), held_out: Vec::new(), ..demo.inputs };
    let translator = TranslatorChoice::Given { run, orientation: Orientation::AsTrained };
    let pipeline = Pipeline::new(PipelineOptions { inputs, translator, folds: 1, draws: 1, ..demo }, &Device::flex());
    let results = pipeline.unwrap().run(&stop, &mut |_| ()).unwrap().unwrap();
    let [as_is, adaptation, tutorship] = [Approach::AsIs, Approach::Adaptation, Approach::Tutorship { round: 1 }]
        .map(|approach| dice(&results, approach));
    let found = format!("as it is {as_is:.3}, adaptation {adaptation:.3}, tutorship {tutorship:.3}");
    println!("{found}");
    assert!(adaptation > as_is + MARGIN && tutorship > as_is + MARGIN, "{found}");
}
