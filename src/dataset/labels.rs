//! Mask files to label maps, without silent repair: a stray grey value is an error until the user gives a threshold.
//!
//! Knows binary masks, masks with one grey value for each class (AxonDeepSeg's 0, 127, 255), class numbers (nnU-Net)
//! and object numbers, 8 or 16 bits. Which files make up the masks of an image is found in `annotated` and `nnunet`.

use crate::error::{Error, Result};
use crate::imaging::{Histogram, IGNORE, LabelMap, RasterFile, StoredImage, bands};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The masks of one image: together they say the class of each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSource {
    /// Never empty.
    pub files: Vec<MaskFile>,
}

/// One mask file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaskFile {
    /// The file.
    pub path: PathBuf,
    /// How its values stand for classes.
    pub encoding: Encoding,
}

/// How the values of a mask stand for classes. Value 0 is always background.
///
/// Values are those stored, except that a 16-bit file in which all are multiples of 257, and some larger than 255, was
/// stretched from 8 bits and is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 255 is this class; or 1 is, in a file of 0 and 1.
    Binary(u8),
    /// Every value from 1 up is an object of this class.
    Objects(u8),
    /// Grey values with their classes, from dark to bright; two values may stand for one class.
    Greys(Vec<(u16, u8)>),
    /// The values from 1 to this one are the classes themselves.
    Numbers(u8),
    /// The same, and the value after this one is [`IGNORE`]: nnU-Net's label `ignore`.
    NumbersAndIgnore(u8),
}

/// A label map as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The class of each pixel, 0 for background, or [`IGNORE`].
    pub map: LabelMap,
    /// What the user should know: that the masks of two classes overlap.
    pub note: Option<String>,
}

/// Masks of two classes meet at edges; up to this share of the labelled pixels nobody needs to hear of it.
const USUAL_OVERLAP: f64 = 0.01;

/// Reads the masks of an image of `size` `[height, width]`. Where two masks overlap, the higher class number wins.
///
/// Without a threshold every value must be one that the [`Encoding`] names. With one (1 to 255), a binary or grey mask
/// that holds other values is read so: values from `threshold` up are the brightest class; other values that reach
/// half of a lower class's grey value are that class, the brightest such one; the rest is background. In a 16-bit file
/// with values above 255, threshold and grey values count 257-fold. A mask without strays is read as if there were no
/// threshold, and numbers of classes are never thresholded.
pub fn read_labels(source: &MaskSource, size: [usize; 2], threshold: Option<u8>) -> Result<Labels> {
    check_threshold(threshold)?;
    let [height, width] = size;
    let mut classes = vec![0; height * width];
    let mut overlap = 0;
    for file in &source.files {
        let mask = Stored::read(&file.path)?;
        if mask.size() != size {
            let reason = format!(
                "the mask has {} x {} pixels and its image {width} x {height} (width x height); give the mask that was \
                 drawn on this very image",
                mask.size()[1],
                mask.size()[0]
            );
            return Err(Error::image(&file.path, reason));
        }
        let class_of = mask.classes_of_values(&file.encoding, threshold)?;
        for rows in bands(&mask.file.window()) {
            let pixels = &mut classes[rows.start * width..rows.end * width];
            for (class, new) in pixels.iter_mut().zip(mask.classes(rows, &class_of)?) {
                overlap += usize::from(*class != 0 && new != 0 && *class != new);
                *class = new.max(*class);
            }
        }
    }
    let labelled = classes.iter().filter(|class| **class != 0).count();
    let share = overlap as f64 / labelled.max(1) as f64;
    let note = (share > USUAL_OVERLAP).then(|| {
        let names: Vec<String> = source.files.iter().map(|file| file.path.display().to_string()).collect();
        let percent = 100.0 * share;
        format!(
            "{}: {percent:.1} % of the labelled pixels have two classes; the higher number counts",
            names.join(" and ")
        )
    });
    Ok(Labels { map: LabelMap::new(height, width, classes), note })
}

/// How masks whose names say no class are to be read, and the names of the classes; decided by the values that they
/// hold together:
///
/// - 0 and one other value: `foreground`,
/// - 0, 255 and 127 or 128: `myelin` and `axon`,
/// - 0, 1, 2 and so on up to 9 at most: `class_1`, `class_2` and so on.
///
/// If that fails, values that cover less than 1 % of what is not 0 are set aside, as edges that were smoothed leave
/// them; then 255 must be left alone or with 127 or 128. Files that cannot be read are passed over unless all are.
pub(super) fn guess_greys(root: &Path, paths: &[&Path]) -> Result<Vec<(u16, String)>> {
    let mut pixels: BTreeMap<u16, u64> = BTreeMap::new();
    let mut first_error = None;
    let mut any_read = false;
    for path in paths {
        match Stored::read(path) {
            Ok(mask) => {
                any_read = true;
                mask.counts.into_iter().for_each(|(value, count)| *pixels.entry(value).or_default() += count);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if let Some(error) = first_error.filter(|_| !any_read) {
        return Err(error);
    }
    pixels.remove(&0);
    let labelled: u64 = pixels.values().sum();
    let all: Vec<u16> = pixels.keys().copied().collect();
    let frequent: Vec<u16> =
        pixels.iter().filter(|(_, count)| **count * 100 >= labelled).map(|(value, _)| *value).collect();
    let with_strays = (frequent.last() == Some(&255)).then(|| names_of_greys(&frequent)).flatten();
    names_of_greys(&all).or(with_strays).ok_or_else(|| Error::dataset(root, undecided(paths[0], &all)))
}

/// The classes of grey values other than 0, in ascending order, where they can be told.
fn names_of_greys(values: &[u16]) -> Option<Vec<(u16, String)>> {
    /// Beyond it, numbers count objects rather than classes; one digit also sorts as it counts.
    const MOST_CLASSES: usize = 9;
    let named = |names: &[&str]| Some(values.iter().copied().zip(names.iter().map(|name| name.to_string())).collect());
    match values {
        [_] => named(&["foreground"]),
        // Both are found for half of 255.
        [127 | 128, 255] => named(&["myelin", "axon"]),
        [127, 128, 255] => named(&["myelin", "myelin", "axon"]),
        [1, .., last] if usize::from(*last) == values.len() && values.len() <= MOST_CLASSES => {
            Some(values.iter().map(|value| (*value, format!("class_{value}"))).collect())
        }
        _ => None,
    }
}

fn undecided(first: &Path, values: &[u16]) -> String {
    if values.is_empty() {
        return format!("its masks (such as {}) hold nothing but 0; give masks of some object", first.display());
    }
    format!(
        "the names of its masks (such as {}) say no class and the values do not either: {}. Rename them: \
         NAME_seg-CLASS.png is a mask of 0 and 255, NAME_seg-axonmyelin.png of 0, 127 (myelin) and 255 (axon), \
         NAME_seg-CLASS-instance.png has one number for each object",
        first.display(),
        some_of(values.iter().map(u16::to_string))
    )
}

/// The first few words of a list, and how many more there are.
fn some_of(words: impl ExactSizeIterator<Item = String>) -> String {
    const FEW: usize = 5;
    let more = words.len().saturating_sub(FEW);
    let few = words.take(FEW).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{few} and {more} more") } else { few }
}

/// Reads one mask. For masks of one image together, see [`read_labels`], which says how a threshold is used.
pub fn read_mask(file: &MaskFile, threshold: Option<u8>) -> Result<LabelMap> {
    let mask = MaskReader::open(file, threshold)?;
    let [height, width] = mask.size();
    Ok(LabelMap::new(height, width, mask.classes(0..height)?))
}

/// A mask file of which some rows are read at a time; the rest of it stays in the file where its format allows that.
#[derive(Debug)]
pub struct MaskReader {
    stored: Stored,
    /// The class of each value, up to the highest that occurs.
    class_of: Vec<u8>,
}

impl MaskReader {
    /// Opens a mask, all of which is looked through for values that it must not have. See [`read_mask`].
    pub fn open(file: &MaskFile, threshold: Option<u8>) -> Result<Self> {
        check_threshold(threshold)?;
        let stored = Stored::read(&file.path)?;
        let class_of = stored.classes_of_values(&file.encoding, threshold)?;
        Ok(Self { stored, class_of })
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        self.stored.size()
    }

    /// The class of each pixel of some rows.
    ///
    /// # Panics
    /// When the rows reach beyond the mask.
    pub fn classes(&self, rows: Range<usize>) -> Result<Vec<u8>> {
        self.stored.classes(rows, &self.class_of)
    }
}

/// The largest value of a mask, that of a mask stretched from 8 bits taken back.
pub fn largest_value(path: &Path) -> Result<u16> {
    Ok(Stored::read(path)?.counts.last_key_value().map_or(0, |(value, _)| *value))
}

fn check_threshold(threshold: Option<u8>) -> Result<()> {
    if threshold == Some(0) {
        let reason = "a mask threshold of 0 would make every pixel foreground; give one from 1 to 255";
        return Err(Error::Config(reason.to_string()));
    }
    Ok(())
}

/// A mask file, and what is to be known of all of its values.
#[derive(Debug)]
struct Stored {
    path: PathBuf,
    file: RasterFile,
    /// Stored values for one of the mask: 257 where 8 bits were stretched to 16.
    scale: u16,
    /// How many pixels hold each value of the mask that occurs.
    counts: BTreeMap<u16, u64>,
}

impl Stored {
    fn read(path: &Path) -> Result<Self> {
        let file = RasterFile::open(path, None)?;
        if file.is_coloured() {
            let reason = "it is a mask in colours, which stand for no class; save it as grey values";
            return Err(Error::image(path, reason));
        }
        let mut histogram = Histogram::default();
        for rows in bands(&file.window()) {
            histogram.add(&file.labels(rows)?);
        }
        let largest = histogram.range().map_or(0, |(_, largest)| largest);
        // How an 8-bit value is stretched to 16 bits: 255 * 257 = 65535.
        let is_stretched = largest > 255 && histogram.occurring().all(|(value, _)| value.is_multiple_of(257));
        let scale = if is_stretched { 257 } else { 1 };
        let counts = histogram.occurring().map(|(value, count)| (value / scale, count)).collect();
        Ok(Self { path: path.to_path_buf(), file, scale, counts })
    }

    fn size(&self) -> [usize; 2] {
        [self.file.height(), self.file.width()]
    }

    /// The class of each pixel of some rows, given that of each value.
    fn classes(&self, rows: Range<usize>, class_of: &[u8]) -> Result<Vec<u8>> {
        let values = self.file.labels(rows)?;
        Ok(values.into_iter().map(|value| class_of[usize::from(value / self.scale)]).collect())
    }

    /// A table of the class of each value, up to the highest that occurs.
    fn classes_of_values(&self, encoding: &Encoding, threshold: Option<u8>) -> Result<Vec<u8>> {
        let highest = self.counts.last_key_value().map_or(0, |(value, _)| *value);
        let is_stray = |value: u16| encoding.class_of(value, highest).is_none();
        let counts = self.counts.iter().map(|(value, count)| (*value, *count));
        let strays: Vec<(u16, u64)> = counts.filter(|(value, _)| is_stray(*value)).collect();
        if strays.is_empty() {
            return Ok((0..=highest).map(|value| encoding.class_of(value, highest).unwrap_or(0)).collect());
        }
        let Some((threshold, greys)) = threshold.zip(encoding.greys()) else {
            return Err(self.refuse(encoding, strays));
        };
        let class_of: Vec<u8> = (0..=highest).map(|value| snap(value, highest, threshold, &greys)).collect();
        if class_of[usize::from(highest)] == 0 {
            let reason = format!(
                "its values go up to {highest} only, so with --mask-threshold {threshold} nothing would be left of the \
                 mask; give a lower threshold, or correct the mask"
            );
            return Err(Error::image(&self.path, reason));
        }
        Ok(class_of)
    }

    fn refuse(&self, encoding: &Encoding, mut strays: Vec<(u16, u64)>) -> Error {
        let pixels: u64 = strays.iter().map(|(_, count)| count).sum();
        strays.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let found = some_of(strays.iter().map(|(value, count)| format!("{count} x {value}")));
        let remedy = match encoding.greys().as_deref() {
            Some([_]) => "give --mask-threshold 200 to take values from 200 up as the class, or correct the mask",
            Some(_) => {
                "give --mask-threshold 200 to take values from 200 up as the brightest class and others as the \
                 class below whose value they reach half of, or correct the mask"
            }
            None => "correct the mask, or the list of its labels",
        };
        let reason = format!(
            "{pixels} of its {} pixels hold values that a mask of {encoding} must not have: {found}; {remedy}",
            self.counts.values().sum::<u64>()
        );
        Error::image(&self.path, reason)
    }
}

/// The class of a value by the threshold; `greys` from dark to bright, on the scale of 8 bits.
fn snap(value: u16, highest: u16, threshold: u8, greys: &[(u16, u8)]) -> u8 {
    let scale = if highest > 255 { 257 } else { 1 };
    let value = u32::from(value);
    let Some(((_, brightest), lower)) = greys.split_last() else { return 0 };
    if value >= scale * u32::from(threshold) {
        return *brightest;
    }
    let reached = lower.iter().rev().find(|(grey, _)| 2 * value >= scale * u32::from(*grey));
    reached.map_or(0, |(_, class)| *class)
}

impl Encoding {
    /// The class of a value in a mask that goes up to `highest`; None for a stray value.
    fn class_of(&self, value: u16, highest: u16) -> Option<u8> {
        match self {
            _ if value == 0 => Some(0),
            Self::Binary(class) => (value == if highest == 1 { 1 } else { 255 }).then_some(*class),
            Self::Objects(class) => Some(*class),
            Self::Greys(greys) => greys.iter().find(|(grey, _)| *grey == value).map(|(_, class)| *class),
            Self::NumbersAndIgnore(last) if value == u16::from(*last) + 1 => Some(IGNORE),
            Self::Numbers(last) | Self::NumbersAndIgnore(last) => {
                u8::try_from(value).ok().filter(|class| class <= last)
            }
        }
    }

    /// The grey values and their classes where brightness has a meaning, so that a threshold has one too.
    fn greys(&self) -> Option<Vec<(u16, u8)>> {
        match self {
            Self::Binary(class) => Some(vec![(255, *class)]),
            Self::Greys(greys) => Some(greys.clone()),
            Self::Objects(_) | Self::Numbers(_) | Self::NumbersAndIgnore(_) => None,
        }
    }
}

impl Display for Encoding {
    /// Writes the values that are allowed: `0, 127 and 255`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(_) => f.write_str("0 and 255"),
            Self::Objects(_) => f.write_str("object numbers"),
            Self::Greys(greys) => {
                let values: Vec<String> = greys.iter().map(|(grey, _)| grey.to_string()).collect();
                let (last, others) = values.split_last().ok_or(fmt::Error)?;
                let others: String = others.iter().map(|value| format!(", {value}")).collect();
                write!(f, "0{others} and {last}")
            }
            Self::Numbers(last) => write!(f, "numbers from 0 to {last}"),
            Self::NumbersAndIgnore(last) => write!(f, "numbers from 0 to {}", u16::from(*last) + 1),
        }
    }
}

#[cfg(test)]
mod tests;
