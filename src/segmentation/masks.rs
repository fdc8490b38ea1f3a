//! The files that a segmentation is written to, row by row: label maps, AxonDeepSeg's masks, probabilities.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::predict::largest_class;
use crate::error::Result;
use crate::files::{read_json, write_json};
use crate::imaging::{BitDepth, RowWriter};

/// What is written of each image beside its label map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskOptions {
    /// Whether a 16-bit TIFF of the probability of each class is written.
    pub probabilities: bool,
}

/// The files of one image, complete or absent.
pub struct MaskWriter {
    classes: usize,
    labels: RowWriter,
    masks: Vec<Mask>,
    probabilities: Vec<RowWriter>,
}

/// An 8-bit mask made from the classes of a row.
struct Mask {
    writer: RowWriter,
    /// The grey value of each class.
    greys: Vec<u8>,
}

impl MaskWriter {
    /// Begins the files `NAME.png` and others in `folder` for an image of height and width `size`.
    ///
    /// `class_names` are those of the labels 1, 2, …. When they are axon and myelin, there are also AxonDeepSeg's masks:
    /// `_seg-axon.png`, `_seg-myelin.png` of 0 and 255 and `_seg-axonmyelin.png` of 0, 127 (myelin) and 255 (axon).
    pub fn create(
        folder: &Path,
        name: &str,
        size: [usize; 2],
        class_names: &[String],
        pixel_size_um: Option<f64>,
        options: MaskOptions,
    ) -> Result<Self> {
        let [height, width] = size;
        let file = |ending: &str, depth| {
            RowWriter::create(&folder.join(format!("{name}{ending}")), height, width, depth, pixel_size_um)
        };
        let mut masks = Vec::new();
        for (ending, greys) in axondeepseg_masks(class_names) {
            masks.push(Mask { writer: file(ending, BitDepth::Eight)?, greys });
        }
        let probabilities = if options.probabilities {
            let each = class_names.iter().map(|class| file(&format!("_prob-{class}.tif"), BitDepth::Sixteen));
            each.collect::<Result<Vec<_>>>()?
        } else {
            Vec::new()
        };
        Ok(Self { classes: class_names.len() + 1, labels: file(".png", BitDepth::Eight)?, masks, probabilities })
    }

    /// The paths of the files that [`create`](Self::create) makes.
    pub fn paths(folder: &Path, name: &str, class_names: &[String], options: MaskOptions) -> Vec<PathBuf> {
        let masks = axondeepseg_masks(class_names).into_iter().map(|(ending, _)| ending.to_string());
        let probabilities = class_names.iter().filter(|_| options.probabilities).map(|c| format!("_prob-{c}.tif"));
        let endings = std::iter::once(".png".to_string()).chain(masks).chain(probabilities);
        endings.map(|ending| folder.join(format!("{name}{ending}"))).collect()
    }

    /// Takes the probabilities of the next row, `[classes, width]`.
    pub fn write_row(&mut self, probabilities: &[f32]) -> Result<()> {
        let labels = largest_class(probabilities, self.classes);
        self.labels.write_rows(&labels)?;
        for Mask { writer, greys } in &mut self.masks {
            let row: Vec<u8> = labels.iter().map(|label| greys[usize::from(*label)]).collect();
            writer.write_rows(&row)?;
        }
        let foreground = probabilities.chunks_exact(labels.len()).skip(1);
        for (writer, probabilities) in self.probabilities.iter_mut().zip(foreground) {
            let row: Vec<u16> = probabilities.iter().map(|p| (p * 65535.0).round() as u16).collect();
            writer.write_rows(&row)?;
        }
        Ok(())
    }

    /// Ends the files and gives them their names, the label map last: where it is, the others are.
    pub fn finish(self) -> Result<()> {
        self.probabilities.into_iter().try_for_each(RowWriter::finish)?;
        self.masks.into_iter().try_for_each(|mask| mask.writer.finish())?;
        self.labels.finish()
    }
}

/// Writes nnU-Net's `dataset.json` into a folder of label maps: it names their classes.
pub fn describe_classes(folder: &Path, class_names: &[String]) -> Result<()> {
    let mut labels = serde_json::Map::from_iter([("background".to_string(), json!(0))]);
    labels.extend(class_names.iter().zip(1..).map(|(name, label): (&String, usize)| (name.clone(), json!(label))));
    let description = json!({ "channel_names": { "0": "image" }, "labels": labels, "file_ending": ".png" });
    write_json(&folder.join("dataset.json"), &description)
}

/// The names of the classes 1, 2, … that [`describe_classes`] wrote.
pub fn described_classes(folder: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Description {
        labels: BTreeMap<String, usize>,
    }
    let description: Description = read_json(&folder.join("dataset.json"))?;
    let mut named: Vec<(usize, String)> = description.labels.into_iter().map(|(name, label)| (label, name)).collect();
    named.sort();
    Ok(named.into_iter().filter(|(label, _)| *label > 0).map(|(_, name)| name).collect())
}

/// The endings of AxonDeepSeg's masks with the grey value of each class; none unless the classes are axon and myelin.
fn axondeepseg_masks(class_names: &[String]) -> Vec<(&'static str, Vec<u8>)> {
    let place = |name: &str| class_names.iter().position(|class| class.eq_ignore_ascii_case(name));
    let (Some(axon), Some(myelin), 2) = (place("axon"), place("myelin"), class_names.len()) else {
        return Vec::new();
    };
    let greys = |of_axon: u8, of_myelin: u8| {
        let mut greys = vec![0; 3];
        (greys[axon + 1], greys[myelin + 1]) = (of_axon, of_myelin);
        greys
    };
    vec![("_seg-axon.png", greys(255, 0)), ("_seg-myelin.png", greys(0, 255)), ("_seg-axonmyelin.png", greys(255, 127))]
}

/// The name of the masks of an image: its file's stem without `.ome` and without nnU-Net's `_0000`.
pub fn mask_name(case_name: &str) -> &str {
    case_name.strip_suffix("_0000").unwrap_or(case_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging;

    fn levels(path: &Path) -> Vec<u8> {
        imaging::read(path).unwrap().plane.pixels().iter().map(|value| (value * 255.0).round() as u8).collect()
    }

    #[test]
    fn axon_and_myelin_get_the_masks_of_axondeepseg_whatever_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["myelin".to_string(), "axon".into()];
        let options = MaskOptions { probabilities: true };
        let mut writer = MaskWriter::create(dir.path(), "a", [1, 3], &names, Some(0.1), options).unwrap();
        // Background, myelin, axon.
        writer.write_row(&[0.8, 0.2, 0.0, 0.1, 0.7, 0.0, 0.1, 0.1, 1.0]).unwrap();
        writer.finish().unwrap();
        let at = |ending: &str| dir.path().join(format!("a{ending}"));
        assert_eq!(levels(&at(".png")), [0, 1, 2]);
        assert_eq!(levels(&at("_seg-axon.png")), [0, 0, 255]);
        assert_eq!(levels(&at("_seg-myelin.png")), [0, 255, 0]);
        assert_eq!(levels(&at("_seg-axonmyelin.png")), [0, 127, 255]);
        let probability = imaging::read(&at("_prob-myelin.tif")).unwrap();
        assert_eq!(probability.depth, BitDepth::Sixteen);
        assert!((probability.plane.get(0, 1) - 0.7).abs() < 1e-5);
        assert!((probability.pixel_size_um.unwrap() - 0.1).abs() < 1e-6);
        let paths = MaskWriter::paths(dir.path(), "a", &names, options);
        assert!(paths.len() == 6 && paths.iter().all(|path| path.is_file()));
    }

    #[test]
    fn other_classes_get_a_label_map_only() {
        let paths = MaskWriter::paths(Path::new("d"), "b", &["nuclei".into()], MaskOptions { probabilities: false });
        assert_eq!(paths, [Path::new("d").join("b.png")]);
    }

    #[test]
    fn classes_are_described_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["myelin".to_string(), "axon".into()];
        describe_classes(dir.path(), &names).unwrap();
        assert_eq!(described_classes(dir.path()).unwrap(), names);
    }

    #[test]
    fn names_lose_the_channel_of_nnunet() {
        assert_eq!((mask_name("T_000_0000"), mask_name("x")), ("T_000", "x"));
    }
}
