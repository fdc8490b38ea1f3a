//! Operations of ours in Burn's graph: reach the numbers of a tensor on the processor, and hand a gradient back.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, BackendTensor, DispatchAutodiffContext, DispatchKindConversion, DispatchTensor,
    DispatchTensorKind, Flex, GradientCheckpointingStrategy, TensorMetadata,
};
use burn::tensor::{DType, Tensor, TensorData};

/// 32-bit floats on the processor, in a row. Copies share them.
#[derive(Debug, Clone)]
pub struct Values(FlexTensor);

impl Values {
    /// The numbers, last axis fastest.
    pub fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("values are made contiguous and of 32 bits")
    }

    /// From numbers and the sides of the tensor.
    pub fn new(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Self {
        Self(FlexTensor::from_data(TensorData::new(values, shape.into())))
    }

    /// The sides of the tensor.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    /// As a tensor without gradient.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        wrap::<Flex, D>(BackendTensor::Float(self.0))
    }

    fn from_tensor(tensor: FlexTensor) -> Self {
        Self(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }
}

/// An operation on 32-bit floats on the processor, and its way back.
pub trait Operation<const N: usize>: Debug + Clone + Send + 'static {
    /// What it keeps beside its inputs; little.
    type Kept: Debug + Clone + Send + 'static;
    /// Which inputs it asks for on its way back.
    const ASKS_FOR: [bool; N];
    /// Whether it is cheap enough to be done once more on the way back, where memory is to be saved.
    const IS_CHEAP: bool;

    /// The output.
    fn forward(&self, inputs: &[Values; N]) -> (Values, Self::Kept);

    /// The gradients of the inputs that want one, from that of the output and the inputs that were asked for.
    fn backward(
        self,
        kept: Self::Kept,
        inputs: [Option<Values>; N],
        gradient: Values,
        wanted: [bool; N],
    ) -> [Option<Values>; N];
}

/// An input that was asked for.
pub fn asked(input: Option<Values>) -> Values {
    input.expect("the operation asks for this input")
}

/// Whether a tensor holds 32-bit floats on the processor, with or without gradients.
pub fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_plain_or_tracked(&tensor.clone().into_dispatch())
}

fn is_plain_or_tracked(tensor: &DispatchTensor) -> bool {
    let on_processor = |kind: &DispatchTensorKind| {
        matches!(kind, DispatchTensorKind::Flex(BackendTensor::Float(_) | BackendTensor::Autodiff(_)))
    };
    match (&tensor.kind, tensor.autodiff) {
        (DispatchTensorKind::Autodiff(inner), DispatchAutodiffContext::Enabled(_)) => on_processor(inner),
        (kind, DispatchAutodiffContext::Disabled) => on_processor(kind),
        _ => false,
    }
}

/// The numbers of a tensor for which [`is_ours`] holds; its gradient is not followed.
pub fn plain_values<const D: usize>(tensor: &Tensor<D>) -> Values {
    Values::from_tensor(match split(tensor.clone().into_dispatch()) {
        Input::Plain(tensor) => tensor,
        Input::Tracked(tensor, _) => tensor.into_primitive(),
    })
}

enum Input {
    Plain(FlexTensor),
    Tracked(FloatTensor<Autodiff<Flex>>, GradientCheckpointingStrategy),
}

fn split(tensor: DispatchTensor) -> Input {
    let float = "it was asked before whether the tensor is ours";
    match tensor.autodiff {
        DispatchAutodiffContext::Disabled => Input::Plain(
            <DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(tensor).expect(float).float(),
        ),
        DispatchAutodiffContext::Enabled(strategy) => {
            // The primitive is the same with either strategy.
            let tensor = DispatchTensor {
                autodiff: DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled),
                ..tensor
            };
            let tensor = <DispatchTensor as DispatchKindConversion<Autodiff<Flex>>>::try_into_backend(tensor);
            Input::Tracked(tensor.expect(float).float(), strategy)
        }
    }
}

/// Does an operation on tensors for which [`is_ours`] holds.
pub fn apply<const N: usize, const D: usize, O: Operation<N>>(inputs: [DispatchTensor; N], operation: O) -> Tensor<D> {
    let inputs = inputs.map(split);
    let strategy = inputs.iter().find_map(|input| match input {
        Input::Plain(_) => None,
        Input::Tracked(_, strategy) => Some(*strategy),
    });
    let Some(strategy) = strategy else {
        let inputs = inputs.map(|input| match input {
            Input::Plain(tensor) => Values::from_tensor(tensor),
            Input::Tracked(..) => unreachable!("all inputs are plain"),
        });
        return wrap::<Flex, D>(BackendTensor::Float(operation.forward(&inputs).0.0));
    };
    let inputs = inputs.map(|input| match input {
        Input::Plain(tensor) => Autodiff::<Flex>::from_inner(tensor),
        Input::Tracked(tensor, _) => tensor,
    });
    match strategy {
        GradientCheckpointingStrategy::Disabled => {
            let output = record::<NoCheckpointing, N, O>(inputs, operation);
            wrap::<Autodiff<Flex>, D>(BackendTensor::Float(output))
        }
        GradientCheckpointingStrategy::Balanced => {
            let output = record::<BalancedCheckpointing, N, O>(inputs, operation);
            wrap::<Autodiff<Flex, BalancedCheckpointing>, D>(BackendTensor::Float(output))
        }
    }
}

/// Does an operation and puts it into the graph.
fn record<C: CheckpointStrategy, const N: usize, O: Operation<N>>(
    inputs: [FloatTensor<Autodiff<Flex>>; N],
    operation: O,
) -> FloatTensor<Autodiff<Flex>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let ids = nodes.each_ref().map(|node| node.id());
    let prepared = Step::<O>(PhantomData).prepare::<C>(nodes);
    let prepared = if O::IS_CHEAP {
        prepared.memory_bound().retro_forward(Again { operation: operation.clone(), inputs: ids }).parents(&inputs)
    } else {
        prepared.compute_bound()
    };
    let values = inputs.each_ref().map(|input| Values::from_tensor(input.clone().into_primitive()));
    match prepared.stateful() {
        OpsKind::Tracked(mut prepared) => {
            let mut asked = [None; N];
            for (asked, (input, asks)) in asked.iter_mut().zip(inputs.iter().zip(O::ASKS_FOR)) {
                *asked = asks.then(|| prepared.checkpoint(input));
            }
            let (output, kept) = operation.forward(&values);
            prepared.finish(State { operation, kept, asked }, output.0)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.forward(&values).0.0),
    }
}

/// How to do an operation once more.
#[derive(Debug)]
struct Again<O, const N: usize> {
    operation: O,
    inputs: [NodeId; N],
}

impl<const N: usize, O: Operation<N>> RetroForward for Again<O, N> {
    fn forward(&self, states: &mut BackwardStates, node: NodeId) {
        let inputs = self.inputs.map(|input| Values::from_tensor(states.get_state::<FlexTensor>(&input)));
        states.save(node, self.operation.forward(&inputs).0.0);
    }
}

fn wrap<B: burn::backend::Backend, const D: usize>(tensor: BackendTensor<B>) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    Tensor::from_dispatch(<DispatchTensor as DispatchKindConversion<B>>::from_backend(tensor))
}

#[derive(Debug)]
struct Step<O>(PhantomData<O>);

/// What the way back of an operation begins with.
#[derive(Debug, Clone)]
struct State<O, K, const N: usize> {
    operation: O,
    kept: K,
    /// The inputs that it asks for.
    asked: [Option<NodeId>; N],
}

impl<const N: usize, O: Operation<N>> Backward<Flex, N> for Step<O> {
    type State = State<O, O::Kept, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let gradient = Values::from_tensor(gradients.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let State { operation, kept, asked } = ops.state;
        let inputs = asked.map(|id| id.map(|id| Values::from_tensor(checkpointer.retrieve_node_output(id))));
        for (parent, gradient) in ops.parents.into_iter().zip(operation.backward(kept, inputs, gradient, wanted)) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient.0);
            }
        }
    }
}
