//! What an ONNX file says before its network is prepared to run: that there is one input and one output, which
//! operators there are, how it ends.

use std::collections::{BTreeSet, HashSet};

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use tract_onnx::prelude::{Framework, InferenceModel};

use super::guarded;
use crate::segmentation::bioimage::{Activation, Reason};

/// A decoded file with one input and one output.
pub(super) struct Graph {
    model: ModelProto,
    /// The name of the output.
    output: String,
    /// The sizes of the input's axes, none for those left open; nothing when not even their number is said.
    pub(super) input_shape: Option<Vec<Option<usize>>>,
}

/// The first byte of an ONNX file: the tag of the format's version.
const TAG_OF_VERSION: u8 = 0x08;

/// Operators that pass numbers on as they are.
const PASSING: [&str; 8] = ["Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Clip"];

impl Graph {
    /// Decodes a file's bytes and refuses what can be refused without running it.
    pub(super) fn decode(bytes: &[u8]) -> Reason<Self> {
        let decoded = tract_onnx::onnx().proto_model_for_read(&mut &*bytes);
        let model = decoded.ok().filter(|model| model.graph.is_some()).ok_or_else(|| {
            if bytes.first() == Some(&TAG_OF_VERSION) {
                "it is an ONNX file, but damaged or cut short; copy or export it again".to_string()
            } else {
                "it is not an ONNX file".to_string()
            }
        })?;
        let graph = model.graph.as_ref().ok_or("it holds no network")?;
        let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs: Vec<_> = graph.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect();
        let input_shape = shape(only("input", "an image", &inputs)?);
        let output = only("output", "the class scores", &graph.output.iter().collect::<Vec<_>>())?.name.clone();
        if !inputs.iter().any(|input| input.name == output) && producer(graph, &output).is_none() {
            return Err(format!("nothing in it computes its output {output}; export it again"));
        }
        check_operators(graph)?;
        Ok(Self { output, input_shape, model })
    }

    /// The network for the runtime; `folder` is where weights in separate files lie.
    pub(super) fn to_network(&self, folder: Option<&str>) -> Reason<InferenceModel> {
        // Sizes of values in between may be written down as symbols; they follow from the input's.
        let runtime = tract_onnx::onnx().with_ignore_value_info(true);
        let parsed =
            guarded(|| runtime.parse(&self.model, folder)).map_err(|reason| format!("it cannot be used ({reason})"))?;
        match parsed.unresolved_inputs.first() {
            Some(name) => Err(format!("nothing in it computes {name}; export it again")),
            None => Ok(parsed.model),
        }
    }

    /// The activation that the output comes from, through operators that pass it on.
    pub(super) fn activation(&self) -> Option<Activation> {
        let graph = self.model.graph.as_ref()?;
        let mut node = producer(graph, &self.output)?;
        // No chain is longer than the graph, unless it is a ring.
        for _ in 0..graph.node.len() {
            match node.op_type.as_str() {
                "Softmax" => return Some(Activation::Softmax),
                "Sigmoid" => return Some(Activation::Sigmoid),
                operator if PASSING.contains(&operator) => node = producer(graph, node.input.first()?)?,
                _ => return None,
            }
        }
        None
    }
}

fn producer<'a>(graph: &'a GraphProto, value: &str) -> Option<&'a NodeProto> {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
}

fn only<'a>(what: &str, meaning: &str, values: &[&'a ValueInfoProto]) -> Reason<&'a ValueInfoProto> {
    let [value] = values else {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        return Err(format!(
            "it has {} {what}s ({}); only networks with one, {meaning}, are understood",
            values.len(),
            names.join(", ")
        ));
    };
    Ok(value)
}

fn shape(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Type::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let size = |size: &Option<Size>| match size {
        Some(Size::DimValue(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(|dim| size(&dim.value)).collect())
}

fn check_operators(graph: &GraphProto) -> Reason<()> {
    let known = tract_onnx::onnx().op_register.0;
    let mut used = BTreeSet::new();
    collect_operators(graph, &mut used);
    let missing: Vec<&str> = used.into_iter().filter(|operator| !known.contains_key(*operator)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it needs {} {}, which this program's ONNX runtime lacks; export it without",
        if missing.len() == 1 { "the operator" } else { "the operators" },
        missing.join(", ")
    ))
}

/// The operators of a graph and of the graphs within: branches and loops.
fn collect_operators<'a>(graph: &'a GraphProto, used: &mut BTreeSet<&'a str>) {
    for node in &graph.node {
        used.insert(&node.op_type);
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|inner| collect_operators(inner, used));
        }
    }
}
