//! Why a file is not read, before its name is known.

use crate::error::Error;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug)]
pub(in crate::imaging) enum Refusal {
    /// The operating system refused.
    Io(io::Error),
    /// It is cut short or damaged, and how that shows.
    Damaged(String),
    /// It is stored in a way that is not read.
    Unread(String),
    /// A whole sentence with its remedy.
    Sentence(String),
}

/// A result with the reason.
pub(in crate::imaging) type Reason<T> = Result<T, Refusal>;

impl Refusal {
    /// The error for a file.
    pub(in crate::imaging) fn of(self, path: &Path) -> Error {
        let reason = match self {
            Self::Io(source) => return Error::io("read", path)(source),
            Self::Damaged(how) => format!("it is cut short or damaged ({how}); copy it again from its source"),
            Self::Unread(what) => {
                format!("it is stored in a way that is not read ({what}); save it as an 8- or 16-bit grey TIFF or PNG")
            }
            Self::Sentence(sentence) => sentence,
        };
        Error::image(path, reason)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Damaged("it ends too early".into()),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

/// Runs a decoder of others, which reads what strangers wrote: a panic in it becomes a refusal of the one file and does
/// not end a batch. What it had half done is dropped with it.
pub(in crate::imaging) fn guarded<T>(decoder: &str, decode: impl FnOnce() -> Reason<T>) -> Reason<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(Refusal::Damaged(format!("the {decoder} failed on it"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_decoder_is_a_refusal() {
        let result: Reason<()> = guarded("decoder", || panic!("a panic that the test wants"));
        let message = result.unwrap_err().of(Path::new("a.jpg")).to_string();
        assert!(message.contains("a.jpg") && message.contains("the decoder failed on it"), "{message}");
    }
}
