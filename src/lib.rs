//! synlabel turns masks in one microscopy modality into masks in another.

#![forbid(unsafe_code)]

pub mod ahead;
pub mod bench;
pub mod blocks;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod dataset;
pub mod demo;
pub mod device;
pub mod diffusion;
pub mod domain;
pub mod error;
pub mod evaluation;
pub mod figures;
pub mod file_translation;
pub mod files;
pub mod grey_levels;
#[cfg(test)]
mod hostile;
pub mod imaging;
pub mod import;
pub mod ledger;
pub mod losses;
pub mod metrics;
pub mod nn;
pub mod objects;
pub mod phantom;
pub mod prepare;
pub mod pseudo;
pub mod random;
pub mod rank_correlation;
pub mod report;
pub mod run;
pub mod segmentation;
pub mod segmentation_quality;
pub mod segmentation_scores;
pub mod set_distance;
pub mod stages;
pub mod structure;
pub mod syndiff;
pub mod table;
pub mod tensorboard;
pub mod tensors;
pub mod tiles;
pub mod training;
pub mod validation;
pub mod verify;
pub mod weights;
