//! Segmentation by nnU-Net's rules in two dimensions: plan, train, predict, and use models that others have trained.
//! Method §6.

pub mod archive;
pub mod augment;
pub mod batches;
pub mod bioimage;
pub mod budget;
pub mod data;
pub mod ensemble;
pub mod folds;
pub mod losses;
pub mod margins;
pub mod masks;
pub mod model;
pub mod nnunet_checkpoint;
pub mod nnunet_plans;
pub mod normalisation;
pub mod onnx;
pub mod open;
pub mod patch;
pub mod plan;
pub mod predict;
pub mod preparation;
pub mod regrid;
pub mod sliding;
pub mod step;
pub mod training;
