//! A file of golden numbers in memory, and the comparison with it.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::de::DeserializeOwned;

use crate::nn::published::{HostTensor, HostTensors};
use crate::weights::parse_safetensors;

/// The result of a replay step, or the reason why the file cannot be replayed.
pub type Outcome<T> = Result<T, String>;

/// A file of golden numbers.
pub struct Golden {
    tensors: HostTensors,
    metadata: std::collections::HashMap<String, String>,
}

impl Golden {
    pub fn parse(bytes: &[u8]) -> Outcome<Self> {
        let (tensors, metadata) = parse_safetensors(bytes)?;
        Ok(Self { tensors, metadata })
    }

    /// A JSON value of the metadata.
    pub fn metadata<T: DeserializeOwned>(&self, key: &str) -> Outcome<T> {
        let text = self.metadata.get(key).ok_or_else(|| format!("its metadata has no \"{key}\""))?;
        serde_json::from_str(text).map_err(|error| format!("its metadata \"{key}\" is not understood ({error})"))
    }

    pub fn host(&self, name: &str) -> Outcome<&HostTensor> {
        self.tensors.get(name).ok_or_else(|| format!("tensor {name} is missing"))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The values of a tensor with one axis.
    pub fn values(&self, name: &str) -> Outcome<&[f32]> {
        let tensor = self.host(name)?;
        match tensor.shape[..] {
            [_] => Ok(&tensor.values),
            _ => Err(format!("tensor {name} has shape {:?} where 1 axis is needed", tensor.shape)),
        }
    }

    /// A tensor with `D` axes on a device.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Outcome<Tensor<D>> {
        let tensor = self.host(name)?;
        if tensor.shape.len() != D {
            return Err(format!("tensor {name} has shape {:?} where {D} axes are needed", tensor.shape));
        }
        let data = TensorData::new(tensor.values.clone(), tensor.shape.clone());
        Ok(Tensor::from_data(data, (device, DType::F32)))
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> HostTensors {
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.clone())))
            .collect()
    }
}

/// The largest relative error so far, and where it is.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    pub error: f64,
    pub tensor: String,
}

impl Worst {
    /// Takes in the error of one tensor; a value that is no number counts as infinitely wrong.
    pub fn take(&mut self, tensor: &str, error: f64) {
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > self.error || self.tensor.is_empty() {
            *self = Self { error, tensor: tensor.to_string() };
        }
    }

    /// Takes in ‖ours − theirs‖/max(‖theirs‖, floor); tensors of different shape are infinitely wrong.
    pub fn compare(&mut self, name: &str, ours: &HostTensor, theirs: &HostTensor, floor: f64) {
        let same_shape = ours.shape == theirs.shape;
        let error = if same_shape { relative_error(&ours.values, &theirs.values, floor) } else { f64::INFINITY };
        self.take(name, error);
    }
}

/// ‖ours − theirs‖/max(‖theirs‖, floor) in f64.
pub fn relative_error(ours: &[f32], theirs: &[f32], floor: f64) -> f64 {
    let difference = ours.iter().zip(theirs).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>().sqrt();
    if difference == 0.0 { 0.0 } else { difference / norm(theirs).max(floor) }
}

/// The Euclidean norm in f64.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt()
}

/// A tensor brought to the host.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    let data = tensor.into_data().convert::<f32>();
    let shape = data.shape().to_vec();
    HostTensor { shape, values: data.try_into_vec().expect("the data was just converted to f32") }
}
