//! SynDiff (Özbey et al., arXiv 2207.08208): unpaired translation by a cycle-consistent translator and an adversarial
//! diffusion model beside it, one of each for each direction. Method §3–§4.

mod networks;
pub mod published_options;
mod step;
mod translate;

pub use networks::{Discriminators, Generators, SynDiffConfig};
pub use step::{
    Contrast, DomainDraws, LearningRates, LossTerms, StepContext, StepDraws, StepOptions, StepState, TERM_NAMES,
};
pub use translate::ImageTranslator;
