//! Pixel sizes that something beside an image tells, and which of several counts.
//!
//! AxonDeepSeg keeps one number in `pixel_size_in_micrometer.txt`. Sidecars are read in `bids`, the table in `names`,
//! what image files hold in `imaging`.

use super::Case;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// Where a pixel size was found. Of several that differ, the first in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// The user said it.
    Given,
    /// A JSON sidecar of a BIDS folder.
    Sidecar,
    /// The table `subjects.tsv`.
    Table,
    /// AxonDeepSeg's `pixel_size_in_micrometer.txt`.
    TextFile,
    /// The image file itself.
    File,
}

impl Display for SizeSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "as given",
            Self::Sidecar => "of the sidecar",
            Self::Table => "of subjects.tsv",
            Self::TextFile => "of pixel_size_in_micrometer.txt",
            Self::File => "of the file",
        })
    }
}

/// The size that counts of those from several sources, and a sentence for each that differs from it.
pub(super) fn choose(
    sizes: impl IntoIterator<Item = (SizeSource, Option<f64>)>,
) -> (Option<(SizeSource, f64)>, Vec<String>) {
    let mut known: Vec<(SizeSource, f64)> =
        sizes.into_iter().filter_map(|(source, size)| Some((source, size?))).collect();
    known.sort_by_key(|(source, _)| *source);
    let Some((source, size)) = known.first().copied() else { return (None, Vec::new()) };
    // One percent: sidecars and resolutions are rounded.
    let differing = known.iter().filter(|(_, other)| (other / size - 1.0).abs() > 0.01);
    let sentence = |(other, differing): &(SizeSource, f64)| {
        format!("the pixel size {other} is {} um; {} um {source} is used", short(*differing), short(size))
    };
    (Some((source, size)), differing.map(sentence).collect())
}

/// Four significant digits: sizes read from resolutions have many.
pub(super) fn short(size: f64) -> String {
    let digits = (3 - size.log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{size:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// Gives each case the size of the text file beside it, or in the nearest folder above up to `root`, unless a source that
/// counts for more has told one; differences are remarked on.
pub(super) fn read_text_files(root: &Path, cases: &mut [Case], remarks: &mut Remarks) -> Vec<String> {
    let mut files = TextFiles::default();
    for case in cases {
        let in_text = files.size_of(root, &case.path);
        let stated = case.pixel_size_source.map(|source| (source, case.pixel_size_um));
        let (chosen, differing) = choose(stated.into_iter().chain([(SizeSource::TextFile, in_text)]));
        let name = case.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        differing.into_iter().for_each(|sentence| remarks.add(&name, sentence));
        (case.pixel_size_source, case.pixel_size_um) = chosen.unzip();
    }
    files.notes.into_iter().collect()
}

/// The text files of folders, each read once.
#[derive(Default)]
struct TextFiles {
    sizes: HashMap<PathBuf, Option<f64>>,
    notes: BTreeSet<String>,
}

impl TextFiles {
    fn size_of(&mut self, root: &Path, image: &Path) -> Option<f64> {
        let folders: Vec<&Path> = image.ancestors().skip(1).take_while(|folder| folder.starts_with(root)).collect();
        folders.into_iter().find_map(|folder| match self.sizes.get(folder) {
            Some(size) => *size,
            None => {
                let size = self.read(&folder.join("pixel_size_in_micrometer.txt"));
                self.sizes.insert(folder.to_path_buf(), size);
                size
            }
        })
    }

    fn read(&mut self, path: &Path) -> Option<f64> {
        let text = path.is_file().then(|| std::fs::read_to_string(path))?.unwrap_or_default();
        let number = text.trim_start_matches('\u{feff}').trim().replace(',', ".");
        let size = number.parse().ok().filter(|size: &f64| size.is_finite() && *size > 0.0);
        if size.is_none() {
            let path = path.display();
            self.notes.insert(format!("{path}: it does not hold one positive number of micrometres; it is not used"));
        }
        size
    }
}

/// Remarks about images, to be told once however many images they concern.
#[derive(Default)]
pub(super) struct Remarks(Vec<(String, String, usize)>);

impl Remarks {
    pub(super) fn add(&mut self, name: &str, text: String) {
        match self.0.iter_mut().find(|(_, known, _)| *known == text) {
            Some((_, _, count)) => *count += 1,
            None => self.0.push((name.to_string(), text, 1)),
        }
    }

    pub(super) fn into_notes(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|(first, text, count)| match count {
            1 => format!("{first}: {text}"),
            _ => format!("{first} and {} more: {text}", count - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::discover;
    use super::*;
    use std::fs;

    /// The sizes of `a.png` and `x/b.png` beside these files, and the notes.
    fn sizes_with(files: &[(&str, &str)]) -> (Vec<Option<f64>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x")).unwrap();
        for (name, text) in files.iter().chain(&[("a.png", ""), ("x/b.png", "")]) {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let dataset = discover(dir.path()).unwrap();
        (dataset.cases.iter().map(|case| case.pixel_size_um).collect(), dataset.notes)
    }

    #[test]
    fn the_nearest_text_file_counts() {
        let [outer, inner] = [("pixel_size_in_micrometer.txt", "0.1\n"), ("x/pixel_size_in_micrometer.txt", "0,07")];
        assert_eq!(sizes_with(&[outer]), (vec![Some(0.1), Some(0.1)], vec![]));
        assert_eq!(sizes_with(&[inner]), (vec![None, Some(0.07)], vec![]));
        assert_eq!(sizes_with(&[outer, inner]), (vec![Some(0.1), Some(0.07)], vec![]));
    }

    #[test]
    fn a_text_file_without_a_size_is_told_once() {
        for text in ["", "0.1 um", "-1", "0"] {
            let (sizes, notes) = sizes_with(&[("pixel_size_in_micrometer.txt", text)]);
            assert_eq!(sizes, [None, None]);
            assert!(notes.len() == 1 && notes[0].contains("positive number of micrometres"), "{notes:?}");
        }
    }

    #[test]
    fn a_text_file_that_contradicts_the_table_is_told_and_not_used() {
        let table = ("subjects.tsv", "file\tsubject\tpixel_size_um\na.png\t1\t0.2\nb.png\t2\tn/a\n");
        let (sizes, notes) = sizes_with(&[table, ("pixel_size_in_micrometer.txt", "0.1")]);
        assert_eq!(sizes, [Some(0.2), Some(0.1)]);
        let expected =
            "a.png: the pixel size of pixel_size_in_micrometer.txt is 0.1 um; 0.2 um of subjects.tsv is used";
        assert_eq!(notes, [expected]);
    }

    #[test]
    fn sizes_that_differ_by_rounding_alone_are_the_same() {
        let (chosen, differing) = choose([(SizeSource::File, Some(0.1299)), (SizeSource::Sidecar, Some(0.13))]);
        assert_eq!((chosen, differing.len()), (Some((SizeSource::Sidecar, 0.13)), 0));
        assert_eq!(choose([(SizeSource::Given, None)]).0, None);
    }

    #[test]
    fn sizes_are_shown_with_four_digits() {
        assert_eq!([0.1, 0.0476, 12.0, 0.123456, 123.456].map(short), ["0.1", "0.0476", "12", "0.1235", "123.5"]);
    }
}
