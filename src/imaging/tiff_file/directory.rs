//! The skeleton of a TIFF file: its header, its chain of directories, and the values of their tags.
//!
//! Nothing is believed before it is checked against the length of the file: no list is longer than the file itself.

use super::tag;
use crate::imaging::read::{Input, Reason, Refusal};
use crate::imaging::samples::ByteOrder;
use std::collections::{BTreeMap, HashSet};
use std::io::SeekFrom;

/// A TIFF file and how its numbers are stored.
pub(in crate::imaging) struct TiffFile {
    pub(in crate::imaging) input: Input,
    length: u64,
    order: ByteOrder,
    /// Whether offsets have 64 bits (BigTIFF).
    is_big: bool,
    first_directory: u64,
}

/// The tags of one page.
#[derive(Debug, Clone, Default)]
pub(in crate::imaging) struct Directory {
    entries: BTreeMap<u16, Entry>,
}

/// The type of a tag's values, how many there are, and where.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u16,
    count: u64,
    offset: u64,
}

impl Entry {
    /// Bytes of a value (TIFF 6.0, section 2; 13 and 16 to 18 are of later supplements).
    fn value_bytes(&self) -> u64 {
        match self.kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => 0,
        }
    }
}

impl Directory {
    pub(super) fn contains(&self, tag: u16) -> bool {
        self.entries.contains_key(&tag)
    }
}

impl TiffFile {
    /// Reads the header.
    pub(in crate::imaging) fn open(mut input: Input) -> Reason<Self> {
        let length = input.seek(SeekFrom::End(0))?;
        let mut file = Self { input, length, order: ByteOrder::Little, is_big: false, first_directory: 0 };
        let start = file.bytes_at(0, 8)?;
        if start[0] == b'M' {
            file.order = ByteOrder::Big;
        }
        file.is_big = file.integer(&start[2..4]) == 43;
        file.first_directory = if file.is_big {
            let rest = file.bytes_at(8, 8)?;
            file.integer(&rest)
        } else {
            file.integer(&start[4..8])
        };
        Ok(file)
    }

    /// The directories of the chain, each page once; the end of a damaged chain is left out.
    pub(super) fn directories(&mut self) -> Reason<Vec<Directory>> {
        let (first, mut next) = self.directory(self.first_directory)?;
        let mut all = vec![first];
        let mut seen = HashSet::from([self.first_directory]);
        while next != 0 && seen.insert(next) {
            let Ok((directory, after)) = self.directory(next) else { break };
            all.push(directory);
            next = after;
        }
        Ok(all)
    }

    /// The directory at a place and the place of the next one, 0 after the last.
    fn directory(&mut self, place: u64) -> Reason<(Directory, u64)> {
        let (count_bytes, entry_bytes, offset_bytes) = if self.is_big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.bytes_at(place, count_bytes)?;
        let count = self.integer(&count);
        let start = place.saturating_add(count_bytes);
        let bytes = self.bytes_at(start, count.saturating_mul(entry_bytes))?;
        let mut directory = Directory::default();
        for (i, entry) in bytes.chunks_exact(entry_bytes as usize).enumerate() {
            let (head, value) = entry.split_at(entry.len() - offset_bytes as usize);
            let (kind, count) = (self.integer(&head[2..4]) as u16, self.integer(&head[4..]));
            let mut found = Entry { kind, count, offset: self.integer(value) };
            if count.saturating_mul(found.value_bytes()) <= offset_bytes {
                // The value itself stands where its place would.
                found.offset = start + i as u64 * entry_bytes + head.len() as u64;
            }
            directory.entries.entry(self.integer(&head[..2]) as u16).or_insert(found);
        }
        let next = self.bytes_at(start + bytes.len() as u64, offset_bytes)?;
        Ok((directory, self.integer(&next)))
    }

    /// The order of the bytes of numbers.
    pub(super) fn order(&self) -> ByteOrder {
        self.order
    }

    /// How many bytes the file has.
    pub(in crate::imaging) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes at a place; an error when they reach beyond the end.
    pub(super) fn bytes_at(&mut self, place: u64, count: u64) -> Reason<Vec<u8>> {
        if place.checked_add(count).is_none_or(|end| end > self.length) {
            return Err(Refusal::Damaged("something it refers to lies beyond its end".into()));
        }
        self.input.seek(SeekFrom::Start(place))?;
        let mut bytes = vec![0; count as usize];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The integers of a tag; nothing when it is missing or holds no integers.
    pub(super) fn integers(&mut self, directory: &Directory, tag: u16) -> Reason<Option<Vec<u64>>> {
        let Some(entry) = directory.entries.get(&tag).filter(|entry| [1, 3, 4, 13, 16, 18].contains(&entry.kind))
        else {
            return Ok(None);
        };
        let size = entry.value_bytes();
        let bytes = self.bytes_at(entry.offset, entry.count.saturating_mul(size))?;
        Ok(Some(bytes.chunks_exact(size as usize).map(|value| self.integer(value)).collect()))
    }

    /// The first integer of a tag.
    pub(super) fn integer_of(&mut self, directory: &Directory, tag: u16) -> Reason<Option<u64>> {
        Ok(self.integers(directory, tag)?.and_then(|values| values.first().copied()))
    }

    /// The bytes of a tag, whatever its type.
    pub(super) fn bytes_of(&mut self, directory: &Directory, tag: u16) -> Reason<Option<Vec<u8>>> {
        let Some(entry) = directory.entries.get(&tag) else { return Ok(None) };
        self.bytes_at(entry.offset, entry.count.saturating_mul(entry.value_bytes())).map(Some)
    }

    /// The first fraction of a tag, as numerator and denominator.
    pub(super) fn fraction_of(&mut self, directory: &Directory, tag: u16) -> Reason<Option<[u32; 2]>> {
        let Some(entry) = directory.entries.get(&tag).filter(|entry| entry.kind == 5 && entry.count > 0) else {
            return Ok(None);
        };
        let bytes = self.bytes_at(entry.offset, 8)?;
        Ok(Some([self.integer(&bytes[..4]) as u32, self.integer(&bytes[4..]) as u32]))
    }

    /// The text of the image description, whatever its encoding: older ImageJ writes the micro sign in Latin-1.
    pub(super) fn description(&mut self, directory: &Directory) -> String {
        let bytes = self.bytes_of(directory, tag::IMAGE_DESCRIPTION).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()
    }

    /// An unsigned number of up to 8 bytes.
    fn integer(&self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match self.order {
            ByteOrder::Little => bytes.iter().rev().fold(0, add),
            ByteOrder::Big => bytes.iter().fold(0, add),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn open(bytes: Vec<u8>) -> TiffFile {
        TiffFile::open(Box::new(Cursor::new(bytes))).unwrap()
    }

    #[test]
    fn numbers_are_read_in_both_byte_orders_and_both_sizes_of_offsets() {
        // One entry each: tag 256, SHORT, one value: 7.
        let little =
            [b"II\x2a\0\x08\0\0\0\x01\0".as_slice(), &[0, 1, 3, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]].concat();
        let big = [b"MM\0\x2a\0\0\0\x08\0\x01".as_slice(), &[1, 0, 0, 3, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0]].concat();
        let mut bigtiff = b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bigtiff.extend([0, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        bigtiff.extend([0; 8]);
        for bytes in [little, big, bigtiff] {
            let mut file = open(bytes);
            let directories = file.directories().unwrap();
            assert_eq!(directories.len(), 1);
            assert_eq!(file.integer_of(&directories[0], 256).unwrap(), Some(7));
            assert_eq!(file.integer_of(&directories[0], 257).unwrap(), None);
        }
    }

    #[test]
    fn a_chain_that_returns_to_its_beginning_ends() {
        let mut bytes = b"II\x2a\0\x08\0\0\0\0\0".to_vec();
        bytes.extend(8u32.to_le_bytes());
        assert_eq!(open(bytes).directories().unwrap().len(), 1);
    }

    #[test]
    fn a_list_that_is_longer_than_the_file_is_refused_before_memory_is_taken() {
        // Tag 273, LONG8, 2^60 values.
        let mut bytes = b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend([0x11, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16, 16, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0; 8]);
        let mut file = open(bytes);
        let directories = file.directories().unwrap();
        assert!(matches!(file.integers(&directories[0], 273), Err(Refusal::Damaged(_))));
    }
}
