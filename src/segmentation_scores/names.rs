//! What the names of mask files tell, and the files that name classes and folds.

use crate::dataset::stem;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};

/// The name of a mask file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MaskName {
    /// The name of the image.
    pub(super) image: String,
    /// The word after `_seg-`, if there is one.
    pub(super) class: Option<String>,
    /// Whether it says `-manual`.
    pub(super) is_manual: bool,
    /// Whether it says `-instance`.
    pub(super) is_instances: bool,
}

impl MaskName {
    /// Takes `IMAGE[_0000][_seg-CLASS][-manual][-instance].EXTENSION` apart.
    pub(super) fn of(path: &Path) -> Self {
        let stem = stem(path);
        let (mut rest, mut is_manual, mut is_instances) = (stem.as_str(), false, false);
        loop {
            if let Some(shorter) = rest.strip_suffix("-manual") {
                (rest, is_manual) = (shorter, true);
            } else if let Some(shorter) = rest.strip_suffix("-instance") {
                (rest, is_instances) = (shorter, true);
            } else {
                break;
            }
        }
        let (image, class) = rest.rsplit_once("_seg-").map_or((rest, None), |(image, class)| (image, Some(class)));
        let image = image.strip_suffix("_0000").unwrap_or(image).to_string();
        Self { image, class: class.map(String::from), is_manual, is_instances }
    }
}

/// The first folder called `fold_0`, `fold_1` ... or `fold_all` on the way from `root` to a file.
pub(super) fn fold_folder(root: &Path, path: &Path) -> Option<String> {
    let folders = path.strip_prefix(root).ok()?.parent()?.components();
    let mut names = folders.filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let is_fold =
        |name: &&str| name.strip_prefix("fold_").is_some_and(|fold| fold == "all" || fold.parse::<u32>().is_ok());
    names.find(is_fold).map(String::from)
}

/// The name of the label that marks pixels which nobody judged; it has the highest number.
pub(super) const IGNORED: &str = "ignore";

/// The names of the classes proper.
pub(super) fn without_ignored(names: &[String]) -> &[String] {
    match names.split_last() {
        Some((last, classes)) if last == IGNORED => classes,
        _ => names,
    }
}

/// The names of classes 1, 2 ... from the `labels` of nnU-Net's `dataset.json`; the last may be [`IGNORED`].
pub(super) fn classes_of_dataset_json(path: &Path) -> Result<Vec<String>> {
    let json: Value = read_json(path)?;
    let labels = json.get("labels").and_then(Value::as_object).ok_or_else(|| {
        Error::dataset(path, "it has no labels such as {\"background\": 0, \"axon\": 1}; add them, or give --classes")
    })?;
    let mut names = BTreeMap::new();
    for (name, number) in labels {
        let Some(number) = number.as_u64() else {
            let reason = format!("its label {name} is {number}; only single numbers (no regions) can be scored");
            return Err(Error::dataset(path, reason));
        };
        names.insert(number, name.clone());
    }
    if names.len() != labels.len() || !names.keys().copied().eq(0..labels.len() as u64) {
        return Err(Error::dataset(path, "its labels are not numbered 0, 1, 2 ... without a gap; correct them"));
    }
    let names: Vec<String> = names.into_values().skip(1).collect();
    if without_ignored(&names).iter().any(|name| name == IGNORED) {
        return Err(Error::dataset(path, "its label ignore does not have the highest number; correct it"));
    }
    Ok(names)
}

/// The fold that validates each case, by nnU-Net's `splits_final.json`: `[{"train": [...], "val": [...]}, ...]`.
pub(super) fn folds_of_splits_json(path: &Path) -> Result<HashMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Fold {
        val: Vec<String>,
    }
    let splits: Vec<Fold> = read_json(path)?;
    let mut folds = HashMap::new();
    for (number, fold) in splits.into_iter().enumerate() {
        for case in fold.val {
            if let Some(other) = folds.insert(case.clone(), format!("fold_{number}")) {
                let reason = format!("{case} is in val of both {other} and fold_{number}; leave it in one of them");
                return Err(Error::dataset(path, reason));
            }
        }
    }
    Ok(folds)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    // Windows editors add a byte order mark.
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Error::dataset(path, format!("it is not the JSON that nnU-Net writes ({error}); correct it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_the_image_the_class_and_what_kind_of_mask_it_is() {
        let parts = |name: &str| {
            let name = MaskName::of(Path::new(name));
            (name.image, name.class.unwrap_or_default(), name.is_manual, name.is_instances)
        };
        let of = |image: &str, class: &str, is_manual, is_instances| {
            (image.to_string(), class.to_string(), is_manual, is_instances)
        };
        assert_eq!(parts("a/case.png"), of("case", "", false, false));
        assert_eq!(parts("case_0000.ome.tif"), of("case", "", false, false));
        assert_eq!(parts("x_0000_seg-axon.png"), of("x", "axon", false, false));
        assert_eq!(parts("sub-1_SEM_seg-axonmyelin-manual.png"), of("sub-1_SEM", "axonmyelin", true, false));
        assert_eq!(parts("x_seg-nuclei-instance-manual.png"), of("x", "nuclei", true, true));
    }

    #[test]
    fn folds_are_folders_below_the_one_given() {
        let fold = |path: &str| fold_folder(Path::new("fold_9/r"), Path::new(path));
        assert_eq!(fold("fold_9/r/fold_3/validation/a.png"), Some("fold_3".to_string()));
        assert_eq!(fold("fold_9/r/fold_all/a.png"), Some("fold_all".to_string()));
        assert_eq!([fold("fold_9/r/a.png"), fold("fold_9/r/fold_x/fold_1.png")], [None, None]);
    }

    #[test]
    fn labels_are_ordered_by_number_and_odd_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dataset.json");
        let read = |labels: &str| {
            std::fs::write(&path, format!("\u{feff}{{\"labels\": {labels}}}")).unwrap();
            classes_of_dataset_json(&path).map_err(|error| error.to_string())
        };
        let names = read(r#"{"background": 0, "myelin": 1, "axon": 2}"#);
        assert_eq!(names, Ok(vec!["myelin".to_string(), "axon".to_string()]));
        let names = read(r#"{"background": 0, "ignore": 2, "axon": 1}"#).unwrap();
        assert_eq!((names.len(), without_ignored(&names)), (2, &["axon".to_string()][..]));
        for (labels, part) in [
            (r#"{"background": 0, "axon": 2}"#, "without a gap"),
            (r#"{"background": 0, "whole": [1, 2], "axon": 2}"#, "whole is [1,2]"),
            (r#"{"background": 0, "ignore": 1, "axon": 2}"#, "label ignore does not have the highest"),
            ("3", "no labels"),
            ("{", "not the JSON"),
        ] {
            let error = read(labels).unwrap_err();
            assert!(error.contains("dataset.json") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_case_validates_in_one_fold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("splits_final.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            folds_of_splits_json(&path)
        };
        let folds = read(r#"[{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]"#).unwrap();
        assert_eq!((folds["a"].as_str(), folds["b"].as_str()), ("fold_0", "fold_1"));
        let twice = read(r#"[{"val": ["a"]}, {"val": ["a"]}]"#).unwrap_err().to_string();
        assert!(twice.contains("a is in val of both fold_0 and fold_1"), "{twice}");
    }
}
