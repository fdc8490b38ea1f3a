//! The two looks between which images are translated.

use serde::{Deserialize, Serialize};

/// A look, or the set of images that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// The look of the images that have masks (domain 1 of the papers).
    Labelled,
    /// The look that nobody has annotated (domain 2).
    Target,
}

impl Domain {
    /// Both, in the order of the papers.
    pub const BOTH: [Self; 2] = [Self::Labelled, Self::Target];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Labelled => Self::Target,
            Self::Target => Self::Labelled,
        }
    }

    /// The word for it in options, tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Labelled => "labelled",
            Self::Target => "target",
        }
    }
}

/// One thing for each domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pair<T> {
    /// The thing of [`Domain::Labelled`].
    pub labelled: T,
    /// The thing of [`Domain::Target`].
    pub target: T,
}

impl<T> Pair<T> {
    /// What `make` gives for each domain.
    pub fn from_fn(mut make: impl FnMut(Domain) -> T) -> Self {
        Self { labelled: make(Domain::Labelled), target: make(Domain::Target) }
    }

    /// What `make` gives for each domain, or the first error.
    pub fn try_from_fn<E>(mut make: impl FnMut(Domain) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { labelled: make(Domain::Labelled)?, target: make(Domain::Target)? })
    }

    /// The thing of a domain.
    pub fn of(&self, domain: Domain) -> &T {
        match domain {
            Domain::Labelled => &self.labelled,
            Domain::Target => &self.target,
        }
    }

    /// Each thing with another of its domain.
    pub fn zip<U>(self, other: Pair<U>) -> Pair<(T, U)> {
        Pair { labelled: (self.labelled, other.labelled), target: (self.target, other.target) }
    }

    /// Each thing turned into another.
    pub fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> Pair<U> {
        Pair::from_fn(|domain| turn(self.of(domain)))
    }
}
