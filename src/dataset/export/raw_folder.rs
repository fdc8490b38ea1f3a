//! nnU-Net v2 raw folders: `dataset.json`, `imagesTr/CASE_0000.png`, `labelsTr/CASE.png`, and `subjects.tsv`, which
//! nnU-Net passes over and [`discover_annotated`](crate::dataset::discover_annotated) reads.

use super::{Unjudged, check_classes, check_labels, check_sizes};
use crate::error::{Error, Result};
use crate::files::{PendingDir, create_dir, write_atomically, write_json};
use crate::imaging::{BitDepth, IGNORE, LabelMap, Plane, write, write_labels};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// A raw folder in the making. Where the folder is, it is complete.
#[derive(Debug)]
pub struct RawFolder {
    folder: PendingDir,
    classes: Vec<String>,
    channel: String,
    unjudged: Unjudged,
    /// In lower case, since some file systems do not tell letter case.
    names: HashSet<String>,
    /// The lines of `subjects.tsv`.
    subjects: String,
    /// Images with labels.
    labelled: usize,
}

impl RawFolder {
    /// Begins a folder, which must be called as [`raw_folder_name`] does and must not hold anything yet.
    ///
    /// `classes` are the names of the labels 1, 2, …; `channel` is that of the images, by which nnU-Net chooses the
    /// normalisation: `zscore` or any other word, `rescale_to_0_1`, `noNorm`. With [`Unjudged::Ignore`], pixels that are
    /// [`IGNORE`] get the label after the last class, which nnU-Net neither learns from nor scores.
    pub fn create(dir: &Path, classes: &[String], channel: &str, unjudged: Unjudged) -> Result<Self> {
        check_classes(classes)?;
        if !dir.file_name().is_some_and(|name| is_raw_folder_name(&name.to_string_lossy())) {
            let remedy = "nnU-Net wants a number of three digits and a name, such as Dataset101_Nerve";
            return Err(Error::Config(format!("cannot write raw data to {}: {remedy}; rename it", dir.display())));
        }
        let folder = PendingDir::new(dir)?;
        create_dir(&folder.temporary().join("imagesTr"))?;
        create_dir(&folder.temporary().join("labelsTr"))?;
        Ok(Self {
            folder,
            classes: classes.to_vec(),
            channel: channel.to_string(),
            unjudged,
            names: HashSet::new(),
            subjects: "file\tsubject\tpixel_size_um\n".to_string(),
            labelled: 0,
        })
    }

    /// Writes an image, at its `depth`, with its labels of the same size, and returns the name it got.
    ///
    /// In `name` all but letters, digits, `_`, `-` and `.` becomes `-`, and a name that is taken gets a number. `subject`
    /// is who or what was imaged, which nnU-Net itself does not ask for; `pixel_size_um` is the side of a pixel in
    /// micrometres.
    pub fn add(
        &mut self,
        name: &str,
        subject: &str,
        image: &Plane,
        depth: BitDepth,
        pixel_size_um: Option<f64>,
        labels: &LabelMap,
    ) -> Result<String> {
        check_sizes(name, labels, "image", image)?;
        check_labels(name, labels, self.classes.len(), self.unjudged)?;
        let name = self.free_name(name);
        let ignored = self.classes.len() as u8 + 1;
        let numbers = labels.classes().iter().map(|label| if *label == IGNORE { ignored } else { *label }).collect();
        let numbers = LabelMap::new(labels.height(), labels.width(), numbers);
        self.write_image("imagesTr", &name, subject, image, depth, pixel_size_um)?;
        write_labels(&self.folder.temporary().join(format!("labelsTr/{name}.png")), &numbers)?;
        self.labelled += 1;
        Ok(name)
    }

    /// Writes an image without labels into `imagesTs`, where nnU-Net keeps what is to be predicted.
    pub fn add_unlabelled(
        &mut self,
        name: &str,
        subject: &str,
        image: &Plane,
        depth: BitDepth,
        pixel_size_um: Option<f64>,
    ) -> Result<String> {
        create_dir(&self.folder.temporary().join("imagesTs"))?;
        let name = self.free_name(name);
        self.write_image("imagesTs", &name, subject, image, depth, pixel_size_um)?;
        Ok(name)
    }

    fn write_image(
        &mut self,
        part: &str,
        name: &str,
        subject: &str,
        image: &Plane,
        depth: BitDepth,
        pixel_size_um: Option<f64>,
    ) -> Result<()> {
        let file = format!("{part}/{name}_0000.png");
        write(&self.folder.temporary().join(&file), image, depth, None)?;
        let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        let subject = if subject.is_empty() { name } else { &subject };
        let size = pixel_size_um.map_or("n/a".to_string(), |size| size.to_string());
        self.subjects += &format!("{file}\t{subject}\t{size}\n");
        Ok(())
    }

    /// Writes `subjects.tsv` and `dataset.json` and gives the folder its name.
    pub fn finish(self) -> Result<()> {
        if self.labelled == 0 {
            let path = self.folder.path().display();
            return Err(Error::Config(format!(
                "cannot write raw data to {path}: there is no image with labels; give some"
            )));
        }
        let table = self.folder.temporary().join("subjects.tsv");
        write_atomically(&table, |path| fs::write(path, &self.subjects).map_err(Error::io("write", path)))?;
        let ignored = (self.unjudged == Unjudged::Ignore).then_some("ignore");
        let names = ["background"].into_iter().chain(self.classes.iter().map(String::as_str)).chain(ignored);
        let labels: Map<String, Value> =
            names.zip(0..).map(|(name, number)| (name.to_string(), number.into())).collect();
        let description = json!({
            "channel_names": {"0": self.channel},
            "labels": labels,
            "numTraining": self.labelled,
            "file_ending": ".png",
        });
        write_json(&self.folder.temporary().join("dataset.json"), &description)?;
        self.folder.complete()
    }

    fn free_name(&mut self, name: &str) -> String {
        let name = to_safe(name);
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut candidates = std::iter::once(name.clone()).chain(numbered);
        candidates.find(|name| self.names.insert(name.to_lowercase())).expect("there are more numbers than names")
    }
}

/// The name of a raw folder: `Dataset101_Rat-nerve` of 101 and `Rat nerve`. Numbers go from 1 to 999.
pub fn raw_folder_name(number: u16, title: &str) -> Result<String> {
    if !(1..=999).contains(&number) {
        return Err(Error::Config(format!("nnU-Net cannot number a data set {number}; give a number from 1 to 999")));
    }
    Ok(format!("Dataset{number:03}_{}", to_safe(title)))
}

fn is_raw_folder_name(name: &str) -> bool {
    let number = name.strip_prefix("Dataset").and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(number, title)| {
        number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && !title.is_empty()
    })
}

/// A name without what separates words or folders. No dot comes first: that would hide the file.
fn to_safe(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    let name: String = name.trim_start_matches('.').chars().map(safe).collect();
    if name.is_empty() { "unnamed".to_string() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Encoding, Format, discover_annotated, load_case, read_labels};
    use crate::imaging::ReadOptions;
    use std::path::PathBuf;
    use tempfile::TempDir;

    const I: u8 = IGNORE;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn photograph() -> Plane {
        Plane::from_fn(2, 3, |y, x| (3 * y + x) as f32 / 5.0)
    }

    fn folder(dir: &TempDir) -> PathBuf {
        dir.path().join("Dataset007_Nerve")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let classes = names(&["myelin", "axon"]);
        let mut raw = RawFolder::create(&folder(&dir), &classes, "rescale_to_0_1", Unjudged::Ignore).unwrap();
        let labels = [vec![0, 1, 2, I, I, 0], vec![0; 6]].map(|classes| LabelMap::new(2, 3, classes));
        raw.add("b", "mouse\t1", &photograph(), BitDepth::Sixteen, Some(0.13), &labels[0]).unwrap();
        raw.add("a", "mouse 1", &photograph(), BitDepth::Eight, None, &labels[1]).unwrap();
        raw.finish().unwrap();
        let annotated = discover_annotated(&folder(&dir)).unwrap();
        assert_eq!((annotated.dataset.format, annotated.channel.as_deref()), (Format::NnUnet, Some("rescale_to_0_1")));
        assert_eq!((&annotated.classes, annotated.dataset.notes.len()), (&classes, 0));
        assert_eq!(annotated.masks[0].files[0].encoding, Encoding::NumbersAndIgnore(2));
        let expected = [("a", None, BitDepth::Eight, &labels[1]), ("b", Some(0.13), BitDepth::Sixteen, &labels[0])];
        assert_eq!(annotated.dataset.cases.len(), expected.len());
        for ((case, masks), (name, size, depth, labels)) in
            annotated.dataset.cases.iter().zip(&annotated.masks).zip(expected)
        {
            let image = load_case(case, None, &ReadOptions::full(None)).unwrap().0;
            assert_eq!((case.name.as_str(), case.subject.as_str(), case.pixel_size_um), (name, "mouse 1", size));
            assert_eq!((image.plane.get(1, 2), image.depth), (1.0, depth));
            assert_eq!(read_labels(masks, [2, 3], None).unwrap().map, *labels);
        }
    }

    #[test]
    fn the_description_is_what_nnunet_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let describe = |unjudged| {
            let dir = dir.path().join(if unjudged == Unjudged::None { "Dataset001_a" } else { "Dataset002_b" });
            let mut raw = RawFolder::create(&dir, &names(&["axon"]), "SEM", unjudged).unwrap();
            raw.add("a", "a", &photograph(), BitDepth::Eight, None, &LabelMap::new(2, 3, vec![1; 6])).unwrap();
            raw.finish().unwrap();
            let text = fs::read_to_string(dir.join("dataset.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let expected = json!({
            "channel_names": {"0": "SEM"}, "labels": {"background": 0, "axon": 1}, "numTraining": 1,
            "file_ending": ".png",
        });
        assert_eq!(describe(Unjudged::None), expected);
        assert_eq!(describe(Unjudged::Ignore)["labels"], json!({"background": 0, "axon": 1, "ignore": 2}));
    }

    #[test]
    fn names_become_safe_and_stay_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut raw = RawFolder::create(&folder(&dir), &names(&["axon"]), "SEM", Unjudged::None).unwrap();
        for name in ["a b", "a/b", "A-B", "..", "\u{b5}.v2"] {
            raw.add(name, " ", &photograph(), BitDepth::Eight, None, &LabelMap::new(2, 3, vec![0; 6])).unwrap();
        }
        raw.finish().unwrap();
        let cases = discover_annotated(&folder(&dir)).unwrap().dataset.cases;
        let cases: Vec<_> = cases.iter().map(|case| (case.name.as_str(), case.subject.as_str())).collect();
        let unchanged = ["A-B_3", "a-b", "a-b_2", "unnamed", "\u{b5}.v2"].map(|name| (name, name));
        assert_eq!(cases, unchanged);
    }

    #[test]
    fn folders_are_called_as_nnunet_wants_them() {
        assert_eq!(raw_folder_name(7, "rat nerve/SEM").unwrap(), "Dataset007_rat-nerve-SEM");
        assert!([0, 1000].into_iter().all(|number| raw_folder_name(number, "a").is_err()));
        assert!(is_raw_folder_name("Dataset999_a_b"));
        let dir = tempfile::tempdir().unwrap();
        for name in ["Dataset7_a", "Dataset0007_a", "Dataset007_", "Dataset007", "Dataset+07_a", "nerve"] {
            let created = RawFolder::create(&dir.path().join(name), &names(&["axon"]), "SEM", Unjudged::None);
            assert!(created.unwrap_err().to_string().contains("Dataset101_Nerve"), "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_left_of_a_folder_that_was_not_finished_and_one_without_images_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let create = || RawFolder::create(&folder(&dir), &names(&["axon"]), "SEM", Unjudged::None).unwrap();
        let mut raw = create();
        let error = raw.add("a", "a", &photograph(), BitDepth::Eight, None, &LabelMap::new(3, 2, vec![0; 6]));
        assert!(error.unwrap_err().to_string().contains("2 x 3 pixels and its image 3 x 2"));
        drop(raw);
        assert!(create().finish().unwrap_err().to_string().contains("there is no image with labels"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
