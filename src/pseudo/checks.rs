//! Whether models find the objects of labelled images in translations of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::Event;
use super::opinion::Opinion;
use super::pipeline::{Pipeline, Work};
use super::translation::{back_path, draw_path};
use super::work::network_for;
use crate::error::Result;
use crate::files::{read_json, write_json};
use crate::imaging::{LabelMap, Raster, write_labels};
use crate::segmentation::data::resize_labels;
use crate::segmentation::model::ModelFolder;
use crate::segmentation::predict::Segmenter;
use crate::stages::Outcome;
use crate::structure::{ObjectCheck, check_objects};

/// Which objects of a labelled image a model found in a translation of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The name of the image.
    pub image: String,
    /// For each class.
    pub objects: Vec<ObjectCheck>,
}

impl Checked {
    /// The figures of an image in the folder of a check; the label map that was found is `NAME.png` beside them.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        read_json(&folder.join(format!("{name}.json")))
    }
}

impl Pipeline {
    pub(super) fn check_proxy(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let model = ModelFolder::open(&self.folder(Work::Proxy { round: 1 }))?;
        let folds = &model.data().folds;
        let networks = self.networks_of_folds(model.root(), folds.count())?;
        let translations = self.folder(Work::TranslateLabelled);
        let segmenter = |name: &str| network_for(&networks, folds, name);
        self.check(&segmenter, &|name| draw_path(&translations, name, 0), folder, stop, on_event)
    }

    pub(super) fn check_labelled(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let model = self.labelled_model()?;
        let translations = self.folder(Work::TranslateLabelled);
        self.check(&|_| &model, &|name| back_path(&translations, name), folder, stop, on_event)
    }

    /// Segments a picture of each labelled image and compares with its masks at the picture's resolution.
    fn check<'a>(
        &self,
        segmenter: &dyn Fn(&str) -> &'a Segmenter,
        picture: &dyn Fn(&str) -> PathBuf,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let set = self.labelled()?;
        for (index, image) in set.images.iter().enumerate() {
            on_event(Event::Progress { done: index, total: set.images.len(), item: &image.name });
            let figures = folder.join(format!("{}.json", image.name));
            if figures.is_file() {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Stopped);
            }
            let model = segmenter(&image.name);
            let shown = Raster::read(&picture(&image.name))?;
            let size = [shown.raster.height(), shown.raster.width()];
            let pixel_size_um = self.working_um()?.or(image.pixel_size_um);
            let found = Opinion::of(model, &[shown], pixel_size_um, &mut || ())?.conclude(size).labels;
            let found = renumbered(&found, &model.class_names, &set.classes);
            write_labels(&folder.join(format!("{}.png", image.name)), &found)?;
            let truth = resize_labels(&image.labels, size[0], size[1]);
            let objects = (1..=set.classes.len()).map(|class| check_objects(&truth, &found, class as u8)).collect();
            write_json(&figures, &Checked { image: image.name.clone(), objects })?;
        }
        Ok(Outcome::Finished)
    }
}

/// Labels with the numbers that classes of the same name have among `to`; 0 where there is none.
pub(super) fn renumbered(labels: &LabelMap, from: &[String], to: &[String]) -> LabelMap {
    let number =
        |name: &String| to.iter().position(|other| other.eq_ignore_ascii_case(name)).map_or(0, |i| i as u8 + 1);
    let numbers: Vec<u8> = std::iter::once(0).chain(from.iter().map(number)).collect();
    let classes = labels.classes().iter().map(|label| numbers[usize::from(*label)]).collect();
    LabelMap::new(labels.height(), labels.width(), classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_take_the_numbers_of_the_other_side() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let labels = LabelMap::new(1, 4, vec![0, 1, 2, 3]);
        let found = renumbered(&labels, &names(&["axon", "dust", "Myelin"]), &names(&["myelin", "axon"]));
        assert_eq!(found.classes(), [0, 2, 0, 1]);
    }
}
