//! From labelled images of one look to masks of another: the strategies of the paper (Boschet et al. 2024) and the
//! baselines that a careful scientist tries beside them, as one pipeline of stages.
//!
//! A [`Pipeline`] reads and checks its [`Inputs`](inputs::Inputs), then does the stages that its [`Approach`]es need.
//! Each leaves its result in a folder of its own and is skipped when that is there and nothing that it depends on has
//! changed. [`Results`] gathers what the folders hold; [`verdict`] says it in words.

mod approach;
mod checks;
mod estimate;
mod given;
pub mod inputs;
pub mod labelling;
mod models;
mod opinion;
mod pages;
mod pipeline;
mod publish;
mod results;
mod scoring;
pub mod targets;
pub mod translation;
mod verdict;
mod work;

pub use approach::Approach;
pub use checks::Checked;
pub use pipeline::{Pipeline, PipelineOptions, TranslatorChoice, Work};
pub use publish::{Published, publish};
pub use results::{ApproachResult, Results};
pub use scoring::Scored;
pub use verdict::{LookFirst, Verdict};

/// What happens in a pipeline.
pub enum Event<'a> {
    /// A stage comes next: it is skipped, goes on or begins.
    Stage {
        /// Its number, from 1 on, and how many there are.
        place: [usize; 2],
        /// Its name, that of its folder.
        name: &'a str,
        /// What it does.
        does: &'a str,
        /// How far it is.
        state: &'a crate::stages::State,
    },
    /// Something the user should know.
    Note(&'a str),
    /// In the training of the translator.
    Translator(crate::training::Event<'a>),
    /// In the training of a segmentation model.
    Model(crate::segmentation::training::Event<'a>),
    /// An item comes next.
    Progress {
        /// Items done.
        done: usize,
        /// Items in all.
        total: usize,
        /// The one that comes next.
        item: &'a str,
    },
}
