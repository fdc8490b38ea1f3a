//! The parameter names of the published Python code, for its checkpoints and for golden numbers.
//!
//! Each network says how it names its parameters ([`Published`]); loading, exporting and gradients follow from that.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

pub use super::host_tensor::{HostTensor, HostTensors};

/// A trained parameter of a network.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Field names from the network down, joined by dots.
    pub path: String,
    /// For each field name of the path, the type that has the field.
    pub containers: Vec<String>,
    id: ParamId,
}

impl Parameter {
    /// PyTorch stores the weight of a linear map transposed; its per-pixel maps in attention it does not.
    fn is_transposed(&self) -> bool {
        let parent = self.containers.iter().rev().nth(1).map(String::as_str);
        self.containers.last().is_some_and(|c| c == "Linear")
            && self.path.ends_with("weight")
            && parent != Some("Attention")
    }
}

/// A network that exists in the published code too.
pub trait Published: Module {
    /// Every parameter with its name there, in the order of the fields.
    fn published_names(&self) -> Vec<(Parameter, String)>;
}

/// All parameters of a network in the order of its fields.
pub fn parameters(network: &impl Module) -> Vec<Parameter> {
    #[derive(Default)]
    struct Collector {
        path: Vec<String>,
        containers: Vec<String>,
        found: Vec<Parameter>,
    }
    impl ModuleVisitor for Collector {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.push(name.into());
            self.containers.push(container_type.trim_start_matches("Struct:").into());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
            self.containers.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(Parameter { path: self.path.join("."), containers: self.containers.clone(), id: param.id });
        }
    }
    let mut collector = Collector::default();
    network.visit(&mut collector);
    collector.found
}

/// The network with its parameters replaced by the tensors of the same published names.
///
/// Refuses with a sentence when one is missing, has another shape, or is left over: a load that looks like it succeeded
/// and did less than was asked would go unnoticed.
pub fn load<N: Published>(network: N, mut tensors: HostTensors) -> Result<N, String> {
    struct Loader {
        values: HashMap<ParamId, (String, HostTensor)>,
        mismatch: Option<String>,
    }
    impl ModuleMapper for Loader {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some((name, tensor)) = self.values.remove(&param.id) else { return param };
            let expected = param.dims().to_vec();
            if tensor.shape != expected {
                self.mismatch.get_or_insert(format!(
                    "{name} has shape {:?} where the network's options ask for {expected:?}",
                    tensor.shape
                ));
                return param;
            }
            param.map(|old| {
                let data = TensorData::new(tensor.values, tensor.shape);
                Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
            })
        }
    }
    let mut values = HashMap::new();
    for (parameter, name) in network.published_names() {
        let tensor = tensors.remove(&name).ok_or_else(|| format!("{name} is missing"))?;
        let tensor = if parameter.is_transposed() { transpose(tensor) } else { tensor };
        values.insert(parameter.id, (name, tensor));
    }
    if let Some((name, _)) = tensors.first_key_value() {
        return Err(format!("{name} and {} more belong to no layer of the network", tensors.len() - 1));
    }
    let mut loader = Loader { values, mismatch: None };
    let network = network.map(&mut loader);
    loader.mismatch.map_or(Ok(network), Err)
}

/// The parameters under their published names.
pub fn export(network: &impl Published) -> HostTensors {
    struct Value;
    impl Reader for Value {
        fn read<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<TensorData> {
            Some(param.val().into_data())
        }
    }
    collect(network, &Value)
}

/// The gradients of those parameters that have one, under their published names.
pub fn gradients(network: &impl Published, gradients: &GradientsParams) -> HostTensors {
    struct OfParam<'a>(&'a GradientsParams);
    impl Reader for OfParam<'_> {
        fn read<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<TensorData> {
            self.0.get::<D>(param.id).map(Tensor::into_data)
        }
    }
    collect(network, &OfParam(gradients))
}

trait Reader {
    fn read<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<TensorData>;
}

fn collect(network: &impl Published, reader: &impl Reader) -> HostTensors {
    struct Collector<'a, R> {
        reader: &'a R,
        found: HashMap<ParamId, TensorData>,
    }
    impl<R: Reader> ModuleVisitor for Collector<'_, R> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(data) = self.reader.read(param) {
                self.found.insert(param.id, data);
            }
        }
    }
    let mut collector = Collector { reader, found: HashMap::new() };
    network.visit(&mut collector);
    let mut found = collector.found;
    network
        .published_names()
        .into_iter()
        .filter_map(|(parameter, name)| {
            let data = found.remove(&parameter.id)?;
            let shape = data.shape().to_vec();
            let values = data.convert::<f32>().try_into_vec().expect("the data was just converted to f32");
            let tensor = HostTensor { shape, values };
            Some((name, if parameter.is_transposed() { transpose(tensor) } else { tensor }))
        })
        .collect()
}

fn transpose(tensor: HostTensor) -> HostTensor {
    let [rows, columns] = tensor.shape[..] else { return tensor };
    let values = (0..rows * columns).map(|i| tensor.values[(i % rows) * columns + i / rows]).collect();
    HostTensor { shape: vec![columns, rows], values }
}
