//! Large results made in blocks: in any order, by several machines, again after a stop.
//!
//! Each finished block is a file in a folder beside the image that is to come, until all of them are there and are put
//! together. What a block shows may depend on nothing but its place; then it does not matter who made it, or when.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{create_dir, read_json, write_json};
use crate::imaging::Window;

/// An image of some size in square blocks, row by row; the last ones of a row or column are smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockGrid {
    size: [usize; 2],
    side: usize,
}

impl BlockGrid {
    /// An image of `size` rows and columns in blocks of `side` pixels.
    ///
    /// # Panics
    /// When there are no pixels.
    pub fn new(size: [usize; 2], side: usize) -> Self {
        assert!(side > 0 && size.iter().all(|length| *length > 0), "an image without pixels has no blocks");
        Self { size, side }
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.rows() * self.columns()
    }

    /// Rows of blocks.
    pub fn rows(&self) -> usize {
        self.size[0].div_ceil(self.side)
    }

    /// Blocks in a row.
    pub fn columns(&self) -> usize {
        self.size[1].div_ceil(self.side)
    }

    /// The pixels of a block.
    pub fn window(&self, index: usize) -> Window {
        let along = |place: usize, length: usize| place * self.side..((place + 1) * self.side).min(length);
        Window {
            rows: along(index / self.columns(), self.size[0]),
            columns: along(index % self.columns(), self.size[1]),
        }
    }
}

/// The blocks of an image in square groups, which are worked on together; the last ones are smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockGroups {
    blocks: BlockGrid,
    /// Its pixels are blocks.
    groups: BlockGrid,
}

impl BlockGroups {
    /// Groups of `side` x `side` blocks.
    ///
    /// # Panics
    /// When `side` is 0.
    pub fn new(blocks: BlockGrid, side: usize) -> Self {
        Self { blocks, groups: BlockGrid::new([blocks.rows(), blocks.columns()], side) }
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        self.groups.count()
    }

    /// All blocks.
    pub fn blocks(&self) -> BlockGrid {
        self.blocks
    }

    /// The blocks of a group.
    pub fn blocks_of(&self, group: usize) -> impl Iterator<Item = usize> {
        let (Window { rows, columns }, across) = (self.groups.window(group), self.blocks.columns());
        rows.flat_map(move |row| columns.clone().map(move |column| row * across + column))
    }

    /// The pixels of a group.
    pub fn window(&self, group: usize) -> Window {
        let Window { rows, columns } = self.groups.window(group);
        let pixels = |blocks: Range<usize>, length: usize| {
            blocks.start * self.blocks.side..(blocks.end * self.blocks.side).min(length)
        };
        let [height, width] = self.blocks.size;
        Window { rows: pixels(rows, height), columns: pixels(columns, width) }
    }
}

/// One of several equal shares of the groups: every n-th one, so that each share has some of each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Whether the group with this index, counted over all images, is of this share.
    pub fn holds(&self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
        match parts {
            Some((number, of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => {
                Err(Error::Config(format!("{text} is no share of the work; give k/n with k from 1 to n, such as 2/8")))
            }
        }
    }
}

/// The finished blocks of one image.
#[derive(Debug)]
pub struct BlockFolder {
    root: PathBuf,
}

impl BlockFolder {
    /// Begins the blocks of the image that is to be written to `path`, or goes on with those that are there.
    ///
    /// `settings` are what the blocks depend on. Blocks that were made with others are refused, never mixed.
    pub fn open(path: &Path, settings: &impl Serialize) -> Result<Self> {
        let root = Self::beside(path);
        let file = root.join("settings.json");
        let wanted = serde_json::to_value(settings)
            .map_err(|error| Error::Config(format!("cannot write down the settings of {}: {error}", path.display())))?;
        if file.is_file() {
            let found: Value = read_json(&file)?;
            if found != wanted {
                return Err(Error::Config(format!(
                    "the blocks in {} were made {}; delete the folder to begin again, or give the former command to go on",
                    root.display(),
                    difference(&found, &wanted)
                )));
            }
        } else {
            create_dir(&root)?;
            write_json(&file, &wanted)?;
        }
        Ok(Self { root })
    }

    /// The folder of the blocks of an image.
    pub fn beside(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".blocks");
        path.with_file_name(name)
    }

    /// What all blocks have in common and takes long to find: read if it was found before, else found and kept.
    pub fn shared<T: Serialize + DeserializeOwned>(&self, name: &str, find: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = self.root.join(name).with_extension("json");
        if file.is_file() {
            return read_json(&file);
        }
        let found = find()?;
        write_json(&file, &found)?;
        Ok(found)
    }

    /// The file of a block; it is there when the block is finished.
    pub fn block(&self, index: usize) -> PathBuf {
        self.root.join(format!("{index:06}.tif"))
    }

    /// Whether a block is finished.
    pub fn has(&self, index: usize) -> bool {
        self.block(index).is_file()
    }

    /// Deletes the blocks, once the image is written.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.root).map_err(Error::io("delete the folder", &self.root))
    }
}

/// What the blocks found were made with that differs from what is wanted.
fn difference(found: &Value, wanted: &Value) -> String {
    let (Some(found), Some(wanted)) = (found.as_object(), wanted.as_object()) else { return "otherwise".into() };
    let differing = wanted.iter().find(|(key, value)| found.get(*key) != Some(value));
    differing.map_or("otherwise".into(), |(key, value)| {
        let before = found.get(key).unwrap_or(&Value::Null);
        format!("with another {key} ({before} instead of {value})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_each_block_once_and_show_the_pixels_of_their_blocks() {
        for (size, side) in [([9, 8], 1), ([100, 3], 3), ([30, 45], 2), ([5, 5], 9)] {
            let groups = BlockGroups::new(BlockGrid::new(size, 4), side);
            let mut seen = Vec::new();
            for group in 0..groups.count() {
                let blocks: Vec<usize> = groups.blocks_of(group).collect();
                let [first, last] = [blocks[0], blocks[blocks.len() - 1]].map(|block| groups.blocks().window(block));
                let window = groups.window(group);
                assert_eq!(window.rows, first.rows.start..last.rows.end);
                assert_eq!(window.columns, first.columns.start..last.columns.end);
                seen.extend(blocks);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..groups.blocks().count()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn blocks_cover_each_pixel_once() {
        for (size, side) in [([1, 1], 4), ([9, 8], 4), ([100, 3], 7), ([5, 5], 5)] {
            let grid = BlockGrid::new(size, side);
            let mut seen = vec![0; size[0] * size[1]];
            for window in (0..grid.count()).map(|index| grid.window(index)) {
                assert!(window.height() <= side && window.width() <= side);
                for y in window.rows {
                    window.columns.clone().for_each(|x| seen[y * size[1] + x] += 1);
                }
            }
            assert!(seen.iter().all(|count| *count == 1), "{size:?} in blocks of {side}");
        }
    }

    #[test]
    fn shares_part_the_blocks_among_them() {
        let shares: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for index in 0..20 {
            assert_eq!(shares.iter().filter(|share| share.holds(index)).count(), 1);
        }
        for text in ["0/3", "4/3", "1", "a/b", "1/0", ""] {
            assert!(text.parse::<Shard>().unwrap_err().to_string().contains("such as 2/8"), "{text}");
        }
    }

    #[test]
    fn blocks_of_other_settings_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.tif");
        let open = |seed: u64| BlockFolder::open(&path, &serde_json::json!({"seed": seed, "tile": 32}));
        let blocks = open(1).unwrap();
        assert!(!blocks.has(3));
        fs::write(blocks.block(3), "a block").unwrap();
        assert!(open(1).unwrap().has(3));
        assert_eq!(blocks.shared("range", || Ok(0.1)).unwrap(), 0.1);
        let shared = open(1).unwrap().shared("range", || -> Result<f64> { panic!("it is known") });
        assert_eq!(shared.unwrap(), 0.1);
        let error = open(2).unwrap_err().to_string();
        assert!(error.contains("large.tif.blocks") && error.contains("another seed (1 instead of 2)"), "{error}");
        blocks.remove().unwrap();
        assert!(!open(2).unwrap().has(3));
    }
}
