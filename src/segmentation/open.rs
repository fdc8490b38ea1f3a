//! Opening a model, whoever made it: ours, one of nnU-Net v2 (a folder or a zip file), or an ONNX file.

use std::path::Path;

use burn::tensor::Device;

use super::archive::{CheckpointChoice, FoldFiles, ModelFiles, open_model_folder};
use super::ensemble::{Ensemble, Network};
use super::folds::Fold;
use super::margins::Margins;
use super::model::{ModelFolder, Which};
use super::nnunet_checkpoint::NnunetCheckpoint;
use super::nnunet_plans::{NnunetPlans, choose_configuration};
use super::onnx::OnnxModel;
use super::predict::Segmenter;
use super::preparation::Preparation;
use crate::error::{Error, Result};
use crate::nn::{Init, Precision, Unet, UnetConfig, published};
use crate::random::Stream;

/// How a model is used.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// The folds to ask; none stands for those with a number, or for the only one.
    pub folds: Vec<Fold>,
    /// Which checkpoint of each fold.
    pub checkpoint: CheckpointChoice,
    /// Whether images are also shown mirrored, where the model allows it.
    pub mirror: bool,
    /// How far windows advance, as a part of their size.
    pub step: f64,
    /// Micrometres per pixel at which the networks work, where the model does not say; it wins over what it says.
    pub pixel_size_um: Option<f64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { folds: Vec::new(), checkpoint: CheckpointChoice::Best, mirror: true, step: 0.5, pixel_size_um: None }
    }
}

/// A model and what to tell of it.
#[derive(Debug)]
pub struct Opened {
    /// The model.
    pub segmenter: Segmenter,
    /// What it is, in a line.
    pub description: String,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The model in a folder or file.
pub fn open(path: &Path, options: &OpenOptions, device: &Device) -> Result<Opened> {
    if !(options.step > 0.0 && options.step <= 1.0) {
        return Err(Error::Config(format!(
            "windows advance by more than 0 and at most 1 of their size, not {}",
            options.step
        )));
    }
    if !path.exists() {
        return Err(Error::weights(path, "there is no such file or folder"));
    }
    let mut opened = if ModelFolder::is_one(path) {
        open_ours(path, options, device)?
    } else if is_onnx(path) {
        open_onnx(path, options)?
    } else {
        open_nnunet(path, options, device)?
    };
    opened.segmenter.pixel_size_um = options.pixel_size_um.or(opened.segmenter.pixel_size_um);
    Ok(opened)
}

fn is_onnx(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let described = ["bioimageio.yaml", "rdf.yaml"].iter().any(|name| path.join(name).is_file());
    described || ["onnx", "yaml", "yml"].iter().any(|known| extension == *known)
}

fn open_ours(path: &Path, options: &OpenOptions, device: &Device) -> Result<Opened> {
    let model = ModelFolder::open(path)?;
    let plan = model.plan();
    let folds = chosen_folds(path, &options.folds, &model.trained_folds())?;
    let which = match options.checkpoint {
        CheckpointChoice::Best => Which::Best,
        CheckpointChoice::Final => Which::Last,
    };
    let networks = folds
        .iter()
        .map(|fold| {
            let network = model.load_network(*fold, which, device)?;
            Ok(Network::Unet(Box::new(network), device.clone()))
        })
        .collect::<Result<Vec<_>>>()?;
    let mirror = options.mirror && plan.augmentation.mirroring > 0.0;
    let segmenter = Segmenter {
        ensemble: Ensemble {
            networks,
            classes: plan.outputs(),
            mirror_axes: if mirror { vec![0, 1] } else { Vec::new() },
        },
        class_names: plan.classes.clone(),
        patch_size: plan.patch_size,
        preparation: Preparation::Scheme { normalisation: plan.normalisation, margins: Margins::Keep },
        pixel_size_um: plan.pixel_size_um,
        step: options.step,
    };
    let description = format!("model of synlabel, {}", listed(&folds));
    Ok(Opened { segmenter, description, notes: Vec::new() })
}

fn open_onnx(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let model = OnnxModel::open(path)?;
    let classes = model.classes();
    let class_names = match model.class_names() {
        Some(names) => names[1..].to_vec(),
        None if classes == 2 => vec!["foreground".into()],
        None => (1..classes).map(|class| format!("class_{class}")).collect(),
    };
    let notes = model.notes().to_vec();
    let segmenter = Segmenter {
        class_names,
        patch_size: model.patch_size(),
        preparation: Preparation::Steps(model.preprocessing().to_vec()),
        pixel_size_um: None,
        step: options.step,
        ensemble: Ensemble {
            classes,
            networks: vec![Network::Onnx(Box::new(model))],
            // Nothing tells whether a foreign network takes mirrored images well.
            mirror_axes: Vec::new(),
        },
    };
    Ok(Opened { segmenter, description: "ONNX network".into(), notes })
}

fn open_nnunet(path: &Path, options: &OpenOptions, device: &Device) -> Result<Opened> {
    let files = open_model_folder(path, options.checkpoint)?;
    let known: Vec<Fold> = files.folds.iter().map(|files| files.fold).collect();
    let folds = chosen_folds(path, &options.folds, &known)?;
    let mut model: Option<(NnunetPlans, Vec<usize>)> = None;
    let mut networks = Vec::new();
    let mut checkpoints = Vec::new();
    for fold in files.folds.iter().filter(|files| folds.contains(&files.fold)) {
        let checkpoint = NnunetCheckpoint::read(&fold.checkpoint)?;
        if model.is_none() {
            model = Some((read_plans(&files, &checkpoint)?, checkpoint.mirror_axes.clone().unwrap_or_default()));
        }
        let (plans, _) = model.as_ref().expect("the plans were just read");
        checkpoints.push(described(&fold.checkpoint, &checkpoint));
        let network = load_unet(&plans.network, checkpoint, fold, device)?;
        networks.push(Network::Unet(Box::new(network), device.clone()));
    }
    let (plans, mirror_axes) = model.ok_or_else(|| Error::weights(path, "it has no folds"))?;
    checkpoints.dedup();
    let margins = if plans.within_nonzero { Margins::LeaveOut } else { Margins::CutOff };
    let description = format!("nnU-Net model {}, {} ({})", files.name, listed(&folds), checkpoints.join("; "));
    let notes = spacing_note(plans.spacing, options.pixel_size_um).into_iter().collect();
    let segmenter = Segmenter {
        ensemble: Ensemble {
            networks,
            classes: plans.network.classes,
            mirror_axes: if options.mirror { mirror_axes } else { Vec::new() },
        },
        class_names: plans.classes[1..].to_vec(),
        patch_size: plans.patch_size,
        preparation: Preparation::Scheme { normalisation: plans.normalisation, margins },
        pixel_size_um: None,
        step: options.step,
    };
    Ok(Opened { segmenter, description, notes })
}

/// A checkpoint's file with what it says of its training: `checkpoint_best.pth, nnUNetTrainer, epoch 1000`.
fn described(path: &Path, checkpoint: &NnunetCheckpoint) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let epoch = checkpoint.epoch.map(|epoch| format!("epoch {epoch}"));
    [Some(file), checkpoint.trainer.clone(), epoch].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What to tell of a model that works at a spacing: plans give no unit, so it is not taken for micrometres.
fn spacing_note([rows, columns]: [f64; 2], pixel_size_um: Option<f64>) -> Option<String> {
    if [rows, columns] == [1.0, 1.0] || pixel_size_um.is_some() {
        return None;
    }
    Some(format!(
        "its plans have a spacing of {rows} x {columns}, in a unit that they do not name, and images are used at their \
         own pixel size: give --model-pixel-size-um, the micrometres per pixel of the training"
    ))
}

fn read_plans(files: &ModelFiles, checkpoint: &NnunetCheckpoint) -> Result<NnunetPlans> {
    let configuration = choose_configuration(checkpoint.configuration.as_deref(), &files.name);
    let plans = NnunetPlans::read(&files.plans, &files.dataset, configuration)?;
    if plans.classes.len() != plans.network.classes {
        return Err(Error::weights(
            &files.dataset,
            format!("it names {} classes where the network has {}", plans.classes.len(), plans.network.classes),
        ));
    }
    Ok(plans)
}

fn load_unet(config: &UnetConfig, checkpoint: NnunetCheckpoint, files: &FoldFiles, device: &Device) -> Result<Unet> {
    let empty = config.init(&mut Init::new(Stream::new(0), device, Precision::F32));
    published::load(empty, checkpoint.weights).map_err(|reason| {
        Error::weights(&files.checkpoint, format!("its weights are not those of the network in plans.json: {reason}"))
    })
}

/// The folds asked for; refuses those that are not there. Without any, as in nnU-Net, the numbered folds together or
/// the network that saw all images, not both.
fn chosen_folds(path: &Path, wanted: &[Fold], known: &[Fold]) -> Result<Vec<Fold>> {
    if known.is_empty() {
        return Err(Error::run(path, "no fold of it is trained yet; train it with `synlabel segment train`"));
    }
    if let Some(missing) = wanted.iter().find(|fold| !known.contains(fold)) {
        return Err(Error::run(path, format!("it has no trained fold {missing}; it has {}", listed(known))));
    }
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    Ok(known.iter().copied().filter(|fold| *fold != Fold::All || known.len() == 1).collect())
}

/// `fold 0` or `folds 0, 1, 2`.
fn listed(folds: &[Fold]) -> String {
    let names: Vec<String> = folds.iter().map(Fold::to_string).collect();
    format!("fold{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::PathBuf;

    use super::*;
    use crate::imaging::{Raster, read};
    use crate::segmentation::predict::largest_class;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet")
    }

    fn golden_model() -> PathBuf {
        golden().join("nnUNetTrainer__nnUNetPlans__2d")
    }

    /// The array `[classes, 1, height, width]` that nnU-Net saved beside a prediction.
    fn probabilities(folder: &str, case: &str) -> Vec<f32> {
        let file = std::fs::File::open(golden().join(folder).join(format!("{case}.npz"))).unwrap();
        let mut archive = zip::ZipArchive::new(file).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("probabilities.npy").unwrap().read_to_end(&mut bytes).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert!(String::from_utf8_lossy(&bytes[..header]).contains("'<f4', 'fortran_order': False"));
        bytes[header..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// What of a model's predictions differs from nnU-Net's.
    #[derive(Debug, Default)]
    struct Difference {
        values: usize,
        beyond_1e_6: usize,
        beyond_1e_4: usize,
        worst: f32,
        /// Labels that are others where nnU-Net's two largest probabilities are further apart than `worst` may be.
        labels: usize,
    }

    impl Difference {
        /// nnU-Net adds logits up in 16-bit floats. Of a sum near the middle between two of those, the last bit of a
        /// 32-bit float in the network decides which it becomes, and the order of a convolution's sums decides that
        /// bit: a few values in ten thousand then differ by one step of a 16-bit float.
        fn assert_rounding_only(&self) {
            assert!(self.beyond_1e_4 * 5000 < self.values && self.worst < STEP && self.labels == 0, "{self:?}");
        }
    }

    /// What one step of a 16-bit logit between 2 and 4, 2^-9, can change of a probability: a quarter of it at most, for
    /// each of two classes.
    const STEP: f32 = 1e-3;

    fn compare(options: &OpenOptions, folder: &str) -> Difference {
        let opened = open(&golden_model(), options, &Device::flex()).unwrap();
        let mut found = Difference::default();
        for case in ["T_000", "T_001"] {
            let image = Raster::read(&golden().join("images").join(format!("{case}_0000.png"))).unwrap();
            let (height, width) = (image.raster.height(), image.raster.width());
            let theirs = probabilities(folder, case);
            let labels = read(&golden().join(folder).join(format!("{case}.png"))).unwrap().plane;
            let mut y = 0;
            let mut sink = |row: &[f32]| {
                let expected: Vec<f32> =
                    (0..3).flat_map(|class| &theirs[(class * height + y) * width..][..width]).copied().collect();
                for difference in row.iter().zip(&expected).map(|(a, b)| (a - b).abs()) {
                    found.values += 1;
                    found.beyond_1e_6 += usize::from(difference > 1e-6);
                    found.beyond_1e_4 += usize::from(difference > 1e-4);
                    found.worst = found.worst.max(difference);
                }
                for (x, label) in largest_class(row, 3).into_iter().enumerate() {
                    let mut sorted = [expected[x], expected[width + x], expected[2 * width + x]];
                    sorted.sort_by(f32::total_cmp);
                    let tie = sorted[2] - sorted[1] < STEP;
                    found.labels += usize::from(!tie && f32::from(label) != (labels.get(y, x) * 255.0).round());
                }
                y += 1;
                Ok(())
            };
            opened.segmenter.predict(&image, None, &mut sink, &mut || ()).unwrap();
            assert_eq!(y, height);
        }
        println!("{folder}: {found:?}");
        found
    }

    #[test]
    fn the_ensemble_with_mirroring_agrees_with_nnunet() {
        let options = OpenOptions { checkpoint: CheckpointChoice::Final, ..OpenOptions::default() };
        compare(&options, "expected_ensemble_tta").assert_rounding_only();
    }

    #[test]
    fn one_fold_without_mirroring_agrees_with_nnunet() {
        let options = OpenOptions { folds: vec![Fold::Number(0)], mirror: false, ..OpenOptions::default() };
        compare(&options, "expected_fold0_no_tta").assert_rounding_only();
    }

    #[test]
    fn numbered_folds_answer_without_the_network_that_saw_all_images() {
        let [zero, one] = [0, 1].map(Fold::Number);
        let chosen = |wanted: &[Fold], known: &[Fold]| chosen_folds(Path::new("model"), wanted, known).unwrap();
        assert_eq!(chosen(&[], &[zero, one, Fold::All]), [zero, one]);
        assert_eq!(chosen(&[], &[Fold::All]), [Fold::All]);
        assert_eq!(chosen(&[Fold::All], &[zero, one, Fold::All]), [Fold::All]);
    }

    #[test]
    fn folds_that_are_not_there_are_refused() {
        let options = OpenOptions { folds: vec![Fold::Number(3)], ..OpenOptions::default() };
        let error = open(&golden_model(), &options, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("no trained fold 3; it has folds 0, 1"), "{error}");
    }

    #[test]
    fn a_spacing_other_than_that_of_plain_pixels_comes_with_a_note() {
        let note = spacing_note([0.13, 0.13], None).unwrap();
        assert!(note.contains("0.13 x 0.13") && note.contains("--model-pixel-size-um"), "{note}");
        assert_eq!(spacing_note([1.0, 1.0], None), None);
        assert_eq!(spacing_note([0.13, 0.13], Some(0.13)), None);
    }

    #[test]
    fn the_description_names_trainer_and_epoch() {
        let opened = open(&golden_model(), &OpenOptions::default(), &Device::flex()).unwrap();
        let parts = "folds 0, 1 (checkpoint_final.pth, nnUNetTrainer, epoch 2)";
        assert_eq!(opened.description, format!("nnU-Net model nnUNetTrainer__nnUNetPlans__2d, {parts}"));
        assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    }

    #[test]
    fn weights_of_another_network_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let fold = dir.path().join("fold_0");
        std::fs::create_dir(&fold).unwrap();
        std::fs::copy(golden_model().join("fold_0/checkpoint_final.pth"), fold.join("checkpoint_final.pth")).unwrap();
        std::fs::copy(golden_model().join("dataset.json"), dir.path().join("dataset.json")).unwrap();
        let plans = std::fs::read_to_string(golden_model().join("plans.json")).unwrap();
        let wider = plans.replacen("8,\n                        16,", "8,\n                        24,", 1);
        assert_ne!(plans, wider);
        std::fs::write(dir.path().join("plans.json"), wider).unwrap();
        let error = open(dir.path(), &OpenOptions::default(), &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("checkpoint_final.pth") && error.contains("has shape"), "{error}");
    }
}
