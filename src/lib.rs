//! synlabel turns masks in one microscopy modality into masks in another.

pub mod dataset;
pub mod diffusion;
pub mod domain;
pub mod error;
pub mod figures;
pub mod files;
pub mod imaging;
pub mod losses;
pub mod metrics;
pub mod nn;
pub mod phantom;
pub mod random;
pub mod set_distance;
pub mod syndiff;
pub mod table;
pub mod tensorboard;
pub mod tiles;
pub mod verify;
pub mod weights;
