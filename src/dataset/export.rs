//! Images and label maps written as data sets that others read: nnU-Net raw folders ([`RawFolder`]), BIDS microscopy
//! ([`BidsFolder`]) and BIDS derivatives ([`Derivatives`]). All folders are new, and complete or absent; what is checked of label maps is here.

mod bids_folder;
mod bids_names;
mod derivatives;
mod raw_folder;

pub use bids_folder::BidsFolder;
pub use derivatives::{Derivatives, GeneratedBy};
pub use raw_folder::{RawFolder, raw_folder_name};

use crate::error::{Error, Result};
use crate::imaging::{IGNORE, LabelMap, Plane};
use std::collections::BTreeSet;

/// What label maps may say beyond classes and background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unjudged {
    /// Every pixel is judged.
    None,
    /// Some pixels are [`IGNORE`].
    Ignore,
}

/// Each class has a name of its own, other than those that nnU-Net gives a meaning to.
fn check_classes(classes: &[String]) -> Result<()> {
    let unique: BTreeSet<&String> = classes.iter().collect();
    let is_reserved = |name: &&String| ["", "background", "ignore"].contains(&name.as_str());
    if unique.len() < classes.len() || !(1..usize::from(IGNORE)).contains(&classes.len()) {
        let reason = format!("the classes {} cannot be written", classes.join(", "));
        return Err(Error::Config(format!("{reason}; name each of 1 to {} classes once", IGNORE - 1)));
    }
    match classes.iter().find(is_reserved) {
        Some(name) => Err(Error::Config(format!("a class cannot be called {name:?}, which has a meaning; rename it"))),
        None => Ok(()),
    }
}

/// The label map of an image called `name` has the size of another plane of it, its `role`.
fn check_sizes(name: &str, labels: &LabelMap, role: &str, plane: &Plane) -> Result<()> {
    let [height, width] = [plane.height(), plane.width()];
    if [labels.height(), labels.width()] == [height, width] {
        return Ok(());
    }
    Err(Error::Config(format!(
        "cannot write the labels of {name}: they have {} x {} pixels and its {role} {width} x {height} (width x height); \
         give both at the size of the image",
        labels.width(),
        labels.height()
    )))
}

/// The label map of an image called `name` holds no number beyond the classes.
fn check_labels(name: &str, labels: &LabelMap, classes: usize, unjudged: Unjudged) -> Result<()> {
    let is_known = |label: u8| usize::from(label) <= classes || (label == IGNORE && unjudged == Unjudged::Ignore);
    match labels.classes().iter().find(|label| !is_known(**label)) {
        Some(&IGNORE) => Err(Error::Config(format!(
            "cannot write the labels of {name}: nobody judged some of the pixels, and there is no label for these; \
             write labels in which every pixel is judged, or allow the label ignore where the format has it"
        ))),
        Some(label) => Err(Error::Config(format!(
            "cannot write the labels of {name}: they hold the number {label}, but there are {classes} classes; name \
             all of them"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_without_a_name_of_their_own_are_refused() {
        let check = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            check_classes(&names).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["myelin", "axon"]), Ok(()));
        assert!(check(&["axon", "axon"]).unwrap_err().contains("axon, axon cannot be written; name each of 1 to 254"));
        assert!(check(&[]).is_err() && check(&[""]).is_err());
        assert!(check(&["axon", "ignore"]).unwrap_err().contains("\"ignore\""));
    }

    #[test]
    fn labels_are_checked_for_their_numbers_and_their_size() {
        let labels = LabelMap::new(1, 3, vec![0, 2, IGNORE]);
        let check =
            |classes, unjudged| check_labels("a", &labels, classes, unjudged).map_err(|error| error.to_string());
        assert_eq!(check(2, Unjudged::Ignore), Ok(()));
        assert!(check(1, Unjudged::Ignore).unwrap_err().contains("number 2, but there are 1 classes"));
        assert!(check(2, Unjudged::None).unwrap_err().contains("nobody judged"));
        assert!(check_sizes("a", &labels, "image", &Plane::new(1, 3, vec![0.0; 3])).is_ok());
        let message = check_sizes("a", &labels, "image", &Plane::new(3, 1, vec![0.0; 3])).unwrap_err().to_string();
        assert!(message.contains("of a: they have 3 x 1 pixels and its image 1 x 3"), "{message}");
    }
}
