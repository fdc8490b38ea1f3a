//! What a pipeline starts from: labelled images, target images, perhaps true masks of these. Everything that can be
//! checked is checked here, before anything is trained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::targets::{Target, Truth};
use crate::dataset::{self, AnnotatedDataset, Format, Skipped, discover_annotated_as, load_case};
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::imaging::{self, BitDepth, Intensity, Plane, ReadOptions};
use crate::segmentation::data::{DataOptions, LabelledImage, LabelledSet};
use crate::segmentation::masks::mask_name;

/// Where the inputs are, and what is said about them.
#[derive(Debug, Clone, Default)]
pub struct InputOptions {
    /// Images with masks; none for an adaptation with a model and a translator that exist.
    pub labelled: Option<PathBuf>,
    /// Images that nobody has annotated.
    pub target: PathBuf,
    /// Images with masks among the targets, to score by.
    pub truth: Option<PathBuf>,
    /// Subjects of the target that are kept out of all training, to score on.
    pub held_out: Vec<String>,
    /// Micrometres per pixel of the labelled and of the target images, over what files say.
    pub labelled_pixel_size_um: Option<f64>,
    /// The same of the target images.
    pub target_pixel_size_um: Option<f64>,
    /// Grey value from which on a mask's pixel has the class, for masks with values between.
    pub mask_threshold: Option<u8>,
    /// The layouts of the folders; else they are recognised.
    pub labelled_format: Option<Format>,
    /// The same of the target images.
    pub target_format: Option<Format>,
    /// Which stored numbers of the labelled images a translator sees as 0 and 1; else as its settings have it.
    pub labelled_intensity: Option<Intensity>,
    /// The same of the target images.
    pub target_intensity: Option<Intensity>,
    /// The page or slice of labelled images that have several.
    pub labelled_page: Option<usize>,
    /// The same of the target images.
    pub target_page: Option<usize>,
}

impl InputOptions {
    /// How a translator sees the images of a look.
    pub fn reading(&self, domain: Domain) -> ReadOptions {
        let (page, intensity) = match domain {
            Domain::Labelled => (self.labelled_page, self.labelled_intensity),
            Domain::Target => (self.target_page, self.target_intensity),
        };
        ReadOptions { page, intensity: intensity.unwrap_or_default() }
    }

    /// Everything that decides what the pixels of the two looks are, to compare.
    pub(super) fn reading_lines(&self) -> [String; 2] {
        let sizes = Pair { labelled: self.labelled_pixel_size_um, target: self.target_pixel_size_um };
        Domain::BOTH.map(|domain| format!("{:?} {:?}", sizes.of(domain), self.reading(domain)))
    }
}

/// What a pipeline starts from.
#[derive(Debug)]
pub struct Inputs {
    /// The labelled images without those of held-out subjects.
    pub labelled: Option<LabelledSet>,
    /// The files of the labelled images and their masks.
    pub labelled_files: Vec<PathBuf>,
    /// The files of the labelled images by their names.
    labelled_paths: BTreeMap<String, PathBuf>,
    labelled_reading: ReadOptions,
    /// The held-out subjects that the labelled images show too.
    pub held_out_of_labelled: Vec<String>,
    /// The target images, held-out ones among them.
    pub targets: Vec<Target>,
    /// Whether the target folder is a BIDS folder.
    pub target_format: Format,
    /// True masks.
    pub truth: Option<Truth>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Files left out, with reasons.
    pub skipped: Vec<Skipped>,
}

impl Inputs {
    /// Reads and checks the inputs.
    pub fn read(options: &InputOptions) -> Result<Self> {
        let dataset = dataset::discover_as(&options.target, options.target_format)?;
        let mut notes = vec![format!("target: {}", dataset.summary())];
        notes.extend(dataset.notes.iter().cloned());
        let mut skipped = dataset.skipped.clone();
        let mut targets: Vec<Target> = Vec::new();
        let reading = options.reading(Domain::Target);
        for case in &dataset.cases {
            match load_case(case, options.target_pixel_size_um, &reading) {
                Ok((image, remarks)) => {
                    notes.extend(remarks.into_iter().map(|remark| format!("{}: {remark}", case.name)));
                    targets.push(Target {
                        name: mask_name(&case.name).to_string(),
                        size: [image.plane.height(), image.plane.width()],
                        depth: image.depth,
                        is_held_out: options.held_out.contains(&case.subject),
                        case: image.case,
                        reading,
                    });
                }
                Err(reason) => skipped.push(Skipped { path: case.path.clone(), reason }),
            }
        }
        check_targets(&options.target, &targets, &options.held_out)?;
        let depths: Vec<BitDepth> = targets.iter().map(|target| target.depth).collect();
        notes.extend(reading.intensity.remark(&depths).map(|remark| format!("target: {remark}")));
        let truth = options.truth.as_ref().map(|dir| Truth::read(dir, &targets, options.mask_threshold)).transpose()?;
        let Labelled { set: labelled, files: labelled_files, paths: labelled_paths, held_out: held_out_of_labelled } =
            read_labelled(options, &mut notes, &mut skipped)?;
        if let Some(labelled) = &labelled {
            note_shared_subjects(labelled, &targets, truth.is_some(), &mut notes);
            if let Some(truth) = &truth {
                notes.extend(check_classes(&labelled.classes, truth)?);
            }
        }
        Ok(Self {
            labelled,
            labelled_files,
            labelled_paths,
            labelled_reading: options.reading(Domain::Labelled),
            held_out_of_labelled,
            targets,
            target_format: dataset.format,
            truth,
            notes,
            skipped,
        })
    }

    /// The pixels of a labelled image as a translator sees them. Those in the set are as a segmentation sees them.
    pub fn labelled_plane(&self, image: &LabelledImage) -> Result<Plane> {
        match self.labelled_paths.get(&image.name) {
            Some(path) => Ok(imaging::read_with(path, &self.labelled_reading)?.plane),
            None => Err(Error::Config(format!("there is no labelled image {}", image.name))),
        }
    }

    /// The target images that scores are about: those held out where there are some, else all, of those with masks.
    pub fn scored(&self) -> Vec<&Target> {
        let Some(truth) = &self.truth else { return Vec::new() };
        let is_scored = |target: &&Target| truth.has(target) && (target.is_held_out || !self.any_held_out());
        self.targets.iter().filter(is_scored).collect()
    }

    /// Whether some target images are kept out of all training.
    pub fn any_held_out(&self) -> bool {
        self.targets.iter().any(|target| target.is_held_out)
    }

    /// Why no supervised model can be trained and scored on other images; none when one can.
    pub fn reason_against_supervised(&self) -> Option<&'static str> {
        let truth = self.truth.as_ref()?;
        let learnt = self.targets.iter().filter(|target| truth.has(target) && !target.is_held_out);
        let subjects: BTreeSet<&str> = learnt.map(|target| target.case.subject.as_str()).collect();
        match (subjects.len(), self.any_held_out()) {
            (0, _) => Some("only held-out images have true masks"),
            (1, false) => Some("all true masks are of one subject"),
            _ => None,
        }
    }

    /// The target images with masks as a set to learn from, without the held-out ones.
    pub fn target_set(&self, pixel_size_um: Option<f64>) -> Result<LabelledSet> {
        let truth = self.truth.as_ref().ok_or_else(|| Error::Config("there are no true masks to learn from".into()))?;
        let mut images = Vec::new();
        for target in self.targets.iter().filter(|target| truth.has(target) && !target.is_held_out) {
            if let Some(labels) = truth.labels(target)? {
                images.push(target.to_labelled(labels)?);
            }
        }
        Ok(LabelledSet::of(images, truth.classes.clone(), pixel_size_um))
    }
}

fn check_targets(dir: &Path, targets: &[Target], held_out: &[String]) -> Result<()> {
    let subjects: BTreeSet<&str> = targets.iter().map(|target| target.case.subject.as_str()).collect();
    if let Some(unknown) = held_out.iter().find(|subject| !subjects.contains(subject.as_str())) {
        let known: Vec<&str> = subjects.iter().take(10).copied().collect();
        return Err(Error::Config(format!(
            "there is no subject {unknown} among the target images to hold out; subjects: {}",
            known.join(", ")
        )));
    }
    if targets.is_empty() {
        return Err(Error::dataset(dir, "none of its images can be used as a target; see the files left out"));
    }
    if targets.iter().all(|target| target.is_held_out) {
        return Err(Error::Config(
            "every target image is held out, and no look is left to learn; hold out fewer subjects".into(),
        ));
    }
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    if names.len() < targets.len() {
        return Err(Error::dataset(dir, "two of its images would get masks of one name; rename one"));
    }
    check_names(dir, &names)
}

/// What is added to an image's name for the files that are made of it.
const ENDINGS: [&str; 4] = ["_back", "_error", "_confidence", "_draw"];

/// Refuses an image that is called like a file that is made of another.
fn check_names(dir: &Path, names: &BTreeSet<&str>) -> Result<()> {
    let stem = |name: &str| {
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
        ENDINGS.iter().find_map(|ending| name.strip_suffix(ending).map(String::from))
    };
    match names.iter().find_map(|name| Some((name, stem(name).filter(|stem| names.contains(stem.as_str()))?))) {
        Some((name, other)) => Err(Error::dataset(
            dir,
            format!("{name} is called like a file that is made of {other}, and one would replace the other; rename it"),
        )),
        None => Ok(()),
    }
}

/// The labelled side.
#[derive(Default)]
struct Labelled {
    set: Option<LabelledSet>,
    files: Vec<PathBuf>,
    paths: BTreeMap<String, PathBuf>,
    held_out: Vec<String>,
}

fn read_labelled(options: &InputOptions, notes: &mut Vec<String>, skipped: &mut Vec<Skipped>) -> Result<Labelled> {
    let Some(dir) = &options.labelled else { return Ok(Labelled::default()) };
    let reading = DataOptions {
        pixel_size_um: options.labelled_pixel_size_um,
        mask_threshold: options.mask_threshold,
        format: options.labelled_format,
        page: options.labelled_page,
    };
    let mut set = LabelledSet::read(dir, &reading)?;
    notes.append(&mut set.notes);
    skipped.append(&mut set.skipped);
    check_names(dir, &set.images.iter().map(|image| image.name.as_str()).collect())?;
    let before = set.images.len();
    // Two files of one name in two folders are not therefore of one subject.
    let is_of = |image: &LabelledImage, subject: &String| image.subject == *subject && image.subject != image.name;
    let shows = |subject: &&String| set.images.iter().any(|image| is_of(image, subject));
    let held_out: Vec<String> = options.held_out.iter().filter(shows).cloned().collect();
    set.images.retain(|image| !held_out.iter().any(|subject| is_of(image, subject)));
    if set.images.is_empty() {
        return Err(Error::dataset(dir, "all its images are of held-out subjects; hold out fewer, or give others"));
    }
    if set.images.len() < before {
        notes.push(format!(
            "{} labelled images are of held-out subjects and are not used at all",
            before - set.images.len()
        ));
    }
    let AnnotatedDataset { dataset, masks, .. } = discover_annotated_as(dir, options.labelled_format)?;
    notes.insert(0, format!("labelled: {}", dataset.summary()));
    let paths: BTreeMap<String, PathBuf> = dataset.cases.into_iter().map(|case| (case.name, case.path)).collect();
    let masks = masks.into_iter().flat_map(|mask| mask.files).map(|file| file.path);
    let files = paths.values().cloned().chain(masks).collect();
    let depths: Vec<BitDepth> = set.images.iter().map(|image| image.depth).collect();
    let remark = options.reading(Domain::Labelled).intensity.remark(&depths);
    notes.extend(remark.map(|remark| format!("labelled: {remark}")));
    Ok(Labelled { set: Some(set), files, paths, held_out })
}

/// Subjects on both sides are no fault for making masks, but scores on them are not of unseen subjects.
fn note_shared_subjects(labelled: &LabelledSet, targets: &[Target], is_scored: bool, notes: &mut Vec<String>) {
    // Only names that were given to subjects, not those of files, say that two are the same.
    let given = labelled.images.iter().filter(|image| image.subject != image.name);
    let known: BTreeSet<&str> = given.map(|image| image.subject.as_str()).collect();
    let shared: BTreeSet<&str> =
        targets.iter().map(|target| target.case.subject.as_str()).filter(|subject| known.contains(subject)).collect();
    if is_scored && !shared.is_empty() {
        notes.push(format!(
            "the subjects {} are among both the labelled and the target images: models have learnt from them, and \
             scores on them flatter; keep some out of all training with --hold-out",
            shared.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
}

/// Classes are matched by name: it is an error when a model and the truth have none in common, and a note when one has
/// classes that the other lacks.
pub fn check_classes(classes: &[String], truth: &Truth) -> Result<Option<String>> {
    let of = |names: &[String]| -> BTreeSet<String> { names.iter().map(|name| name.to_lowercase()).collect() };
    let (known, wanted) = (of(classes), of(&truth.classes));
    if known.is_disjoint(&wanted) {
        return Err(Error::Config(format!(
            "the model makes masks of {}, and the truth has masks of {}: no class of the same name can be scored; rename \
             the masks, or leave --truth out",
            classes.join(", "),
            truth.classes.join(", ")
        )));
    }
    let alone: Vec<String> = known.symmetric_difference(&wanted).cloned().collect();
    Ok((!alone.is_empty()).then(|| format!("only one side has masks of {}, which are not scored", alone.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_called_like_a_file_made_of_another_is_refused() {
        let check = |names: &[&str]| check_names(Path::new("set"), &names.iter().copied().collect());
        assert!(check(&["cell", "cell_2", "back", "other_back", "cell_mirror"]).is_ok());
        for name in ["cell_back", "cell_confidence", "cell_draw2", "cell_error"] {
            let error = check(&["cell", name]).unwrap_err().to_string();
            assert!(error.contains(&format!("{name} is called like a file that is made of cell")), "{error}");
        }
    }
}
