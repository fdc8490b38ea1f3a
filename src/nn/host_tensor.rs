//! Tensors on the host, without Burn: what files of weights are read to.

use std::collections::BTreeMap;

/// A tensor on the host, in the layout of the published code.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// The side lengths.
    pub shape: Vec<usize>,
    /// The values, last axis fastest.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type HostTensors = BTreeMap<String, HostTensor>;
