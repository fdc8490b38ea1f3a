//! TensorBoard event files: numbers and pictures of a run, written so that `tensorboard --logdir` shows them.
//!
//! A file is a sequence of TFRecords, each holding one `Event` protocol buffer. The messages are declared here by hand
//! (the few fields in use of TensorFlow's `event.proto` and `summary.proto`), so that no `protoc` is needed to build.
//! Event files are only added to; nothing here reads one.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::error::{Error, Result};

/// What the first record of a file says. TensorBoard heeds restarts ([`EventWriter::resume`]) from version 2 on.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`: what was written earlier for this step and later ones is void.
const SESSION_START: i32 = 1;
/// `Summary.Image.colorspace` of a picture with red, green and blue.
const RGB: i32 = 3;

/// One record of an event file.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "Content", tags = "3, 5, 7")]
    content: Option<Content>,
}

/// What an event says: one of these.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// A restart.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Values that belong to one step.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// A value and the name of the chart it belongs to.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Datum", tags = "2, 4")]
    datum: Option<Datum>,
}

/// A number or a picture.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Datum {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

/// A picture as the bytes of its file.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

/// Writes one event file. What has been written is on disk after [`EventWriter::flush`] or when the writer is dropped;
/// only `flush` can report that this failed.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// A new event file in `folder`, for a run that starts from nothing. The folder is made when it is not there.
    ///
    /// # Errors
    /// When the folder or the file cannot be created or written.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        // TensorBoard takes the first start it reads in a folder for the beginning and only later ones for restarts:
        // without a start here, the first resumption would go unheeded.
        Self::resume(folder, 0)
    }

    /// A new event file in `folder`, for a run that goes on from a checkpoint and whose next event will carry `step`.
    ///
    /// Whatever older files in the folder hold for `step` and later stems from work that was lost; TensorBoard is told
    /// to leave it out. (Its fast data server does so for each tag only when that tag gets a new value.)
    ///
    /// # Errors
    /// When the folder or the file cannot be created or written.
    pub fn resume(folder: impl AsRef<Path>, step: u64) -> Result<Self> {
        let mut writer = Self::open(folder.as_ref())?;
        writer.write(0, Content::FileVersion(FILE_VERSION.to_owned()))?;
        writer.write(step, Content::SessionLog(SessionLog { status: SESSION_START }))?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file that is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the point (`step`, `value`) to the chart `tag`. A slash in the tag makes a section: "loss/cycle".
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        self.summary(step, tag, Datum::Scalar(value))
    }

    /// Adds a coloured picture, given as the bytes of a PNG file and its size in pixels, to the series `tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn image_png(&mut self, step: u64, tag: &str, png_bytes: &[u8], height: u32, width: u32) -> Result<()> {
        let (height, width) = (height.cast_signed(), width.cast_signed());
        let image = Image { height, width, colorspace: RGB, encoded: png_bytes.to_vec() };
        self.summary(step, tag, Datum::Image(image))
    }

    /// Hands everything written so far to the operating system, so that TensorBoard sees it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }

    /// Creates the file. TensorBoard takes any name with "tfevents" in it and reads the files of a folder in the order
    /// of their names, so the name begins with the time; the number at the end tells apart files of one second.
    fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let seconds = seconds_since_1970() as u64;
        let mut number = 0;
        loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.synlabel.{number:03}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file: BufWriter::new(file), path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
    }

    /// Writes a value as a summary of its own.
    fn summary(&mut self, step: u64, tag: &str, datum: Datum) -> Result<()> {
        let value = Value { tag: tag.to_owned(), datum: Some(datum) };
        self.write(step, Content::Summary(Summary { values: vec![value] }))
    }

    /// Writes an event with the present time.
    fn write(&mut self, step: u64, content: Content) -> Result<()> {
        let event = Event { wall_time: seconds_since_1970(), step: step.cast_signed(), content: Some(content) };
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }
}

/// The time now; 0 on a machine whose clock stands before 1970.
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A TFRecord: the length of the payload, its checksum, the payload, its checksum; numbers little-endian.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_checksum(&length).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(masked_checksum(payload).to_le_bytes());
    bytes
}

/// CRC-32C, turned right by 15 bits and moved by a constant, as the TFRecord format has it: the checksum of bytes that
/// contain their own checksum would be a poor one.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file; panics when a length or a checksum is wrong.
    fn read_events(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let payload = &rest[12..12 + length];
            assert_eq!(rest[..length + 16], record(payload));
            events.push(Event::decode(payload).unwrap());
            rest = &rest[length + 16..];
        }
        events
    }

    #[test]
    fn the_checksum_of_the_standard_check_string_is_right() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // 0xe3069283 turned right by 15 is 0x2507c60d; plus 0xa282ead8 is 0xc78ab0e5.
        assert_eq!(masked_checksum(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn a_record_has_the_bytes_of_the_format() {
        let event = Event { wall_time: 0.0, step: 0, content: Some(Content::FileVersion("brain.Event:2".to_owned())) };
        // Field 3, length-delimited: (3 << 3) | 2 = 0x1a, then 13 letters. Checksums from a bitwise CRC in Python.
        let payload = b"\x1a\x0dbrain.Event:2";
        let expected = [b"\x0f\0\0\0\0\0\0\0\x6d\x53\x2b\x09", payload.as_slice(), b"\xfc\x98\x51\x29"].concat();
        assert_eq!(record(&event.encode_to_vec()), expected);
    }

    #[test]
    fn a_file_begins_like_those_of_tensorflow() {
        let folder = tempfile::tempdir().unwrap();
        let writer = EventWriter::create(folder.path()).unwrap();
        let bytes = std::fs::read(writer.path()).unwrap();
        // The version with a time has 24 bytes; this checksum of 24 stands at the head of every event file.
        assert_eq!(bytes[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22");
        assert!(bytes[12..36].ends_with(b"brain.Event:2"));
    }

    #[test]
    fn what_was_written_reads_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path().join("made/here")).unwrap();
        writer.scalar(7, "loss/cycle", 0.25).unwrap();
        writer.image_png(8, "samples", b"not really a png", 2, 3).unwrap();
        writer.flush().unwrap();

        let events = read_events(writer.path());
        let expected = [
            Datum::Scalar(0.25),
            Datum::Image(Image { height: 2, width: 3, colorspace: 3, encoded: b"not really a png".to_vec() }),
        ];
        assert_eq!(events[0].content, Some(Content::FileVersion("brain.Event:2".to_owned())));
        assert!(events.iter().all(|event| event.wall_time > 1.7e9));
        for ((event, step), (tag, datum)) in
            events[2..].iter().zip([7, 8]).zip(["loss/cycle", "samples"].into_iter().zip(expected))
        {
            let value = Value { tag: tag.to_owned(), datum: Some(datum) };
            assert_eq!((event.step, &event.content), (step, &Some(Content::Summary(Summary { values: vec![value] }))));
        }
        assert_eq!(events.len(), 4);
    }

    #[test]
    fn a_new_and_a_resumed_run_say_from_which_step_on_older_events_are_void() {
        let folder = tempfile::tempdir().unwrap();
        let new = EventWriter::create(folder.path()).unwrap();
        let resumed = EventWriter::resume(folder.path(), 40).unwrap();
        for (writer, step) in [(new, 0), (resumed, 40)] {
            let event = &read_events(writer.path())[1];
            assert_eq!((event.step, &event.content), (step, &Some(Content::SessionLog(SessionLog { status: 1 }))));
        }
    }

    #[test]
    fn files_of_one_second_do_not_collide_and_sort_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let writers: Vec<_> = (0..12).map(|_| EventWriter::create(folder.path()).unwrap()).collect();
        assert!(writers.is_sorted_by(|older, newer| older.path() < newer.path()));
    }

    #[test]
    fn an_unusable_folder_is_named_in_the_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = EventWriter::create(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
