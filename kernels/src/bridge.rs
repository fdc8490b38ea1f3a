//! Operations of ours in Burn's graph: reach the numbers of a tensor on its device, and hand a gradient back.

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
    Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchAutodiffContext, DispatchKindConversion, DispatchTensor,
    DispatchTensorKind, Flex, GradientCheckpointingStrategy, TensorMetadata,
};
use burn::tensor::{DType, Tensor, TensorData};

/// 32-bit floats as the operations of one kind of device see them. Copies share them.
pub trait Numbers: Debug + Clone + Send + 'static {
    /// Burn's backend for that device.
    type Backend: Backend;

    /// Whether a tensor without its gradients is of that device.
    fn is_kind(kind: &DispatchTensorKind) -> bool;

    /// Of a tensor of that device.
    fn from_primitive(tensor: FloatTensor<Self::Backend>) -> Self;

    /// As a tensor of that device.
    fn into_primitive(self) -> FloatTensor<Self::Backend>;
}

/// 32-bit floats on the processor, in a row. Copies share them.
#[derive(Debug, Clone)]
pub struct Values(FlexTensor);

impl Values {
    /// The numbers, last axis fastest.
    pub fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("values are made contiguous and of 32 bits")
    }

    /// The numbers to change; copies keep theirs.
    pub fn slice_mut(&mut self) -> &mut [f32] {
        if self.slice().len() != self.0.storage::<f32>().len() {
            *self = Self::new(self.slice().to_vec(), self.shape());
        }
        self.0.storage_mut()
    }

    /// Whether nobody else has them.
    pub fn are_own(&self) -> bool {
        self.0.is_unique() && self.slice().len() == self.0.storage::<f32>().len()
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
        into_tensor(self)
    }
}

impl Numbers for Values {
    type Backend = Flex;

    fn is_kind(kind: &DispatchTensorKind) -> bool {
        matches!(kind, DispatchTensorKind::Flex(BackendTensor::Float(_) | BackendTensor::Autodiff(_)))
    }

    fn from_primitive(tensor: FlexTensor) -> Self {
        Self(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }

    fn into_primitive(self) -> FlexTensor {
        self.0
    }
}

/// An operation on 32-bit floats on one kind of device, and its way back.
pub trait Operation<const N: usize, V: Numbers = Values>: Debug + Clone + Send + 'static {
    /// What it keeps beside its inputs; little.
    type Kept: Debug + Clone + Send + 'static;
    /// Which inputs it asks for on its way back.
    const ASKS_FOR: [bool; N];
    /// Whether it is cheap enough to be done once more on the way back, where memory is to be saved.
    const IS_CHEAP: bool;

    /// The output; it may take the place of an input that nobody else has.
    fn forward(&self, inputs: [V; N]) -> (V, Self::Kept);

    /// The gradients of the inputs that want one, from that of the output and the inputs that were asked for.
    fn backward(self, kept: Self::Kept, inputs: [Option<V>; N], gradient: V, wanted: [bool; N]) -> [Option<V>; N];
}

/// An input that was asked for.
pub fn asked<V>(input: Option<V>) -> V {
    input.expect("the operation asks for this input")
}

/// Whether a tensor holds 32-bit floats on the processor, with or without gradients.
pub fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_of::<Values, D>(tensor)
}

/// Whether a tensor holds 32-bit floats of a kind of device, with or without gradients.
pub fn is_of<V: Numbers, const D: usize>(tensor: &Tensor<D>) -> bool {
    let of = |tensor: DispatchTensor| match (&tensor.kind, tensor.autodiff) {
        (DispatchTensorKind::Autodiff(inner), DispatchAutodiffContext::Enabled(_)) => V::is_kind(inner),
        (kind, DispatchAutodiffContext::Disabled) => V::is_kind(kind),
        _ => false,
    };
    tensor.dtype() == DType::F32 && of(tensor.clone().into_dispatch())
}

/// The numbers of a tensor for which [`is_ours`] holds; its gradient is not followed.
pub fn plain_values<const D: usize>(tensor: &Tensor<D>) -> Values {
    numbers_of(tensor.clone())
}

/// The numbers of a tensor for which [`is_of`] holds; its gradient is not followed.
pub fn numbers_of<V: Numbers, const D: usize>(tensor: Tensor<D>) -> V
where
    DispatchTensor: DispatchKindConversion<V::Backend> + DispatchKindConversion<Autodiff<V::Backend>>,
{
    V::from_primitive(match split::<V::Backend>(tensor.into_dispatch()) {
        Input::Plain(tensor) => tensor,
        Input::Tracked(tensor, _) => tensor.into_primitive(),
    })
}

/// Numbers as a tensor without gradient.
pub fn into_tensor<V: Numbers, const D: usize>(numbers: V) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<V::Backend>,
{
    wrap::<V::Backend, D>(BackendTensor::Float(numbers.into_primitive()))
}

enum Input<B: Backend> {
    Plain(FloatTensor<B>),
    Tracked(FloatTensor<Autodiff<B>>, GradientCheckpointingStrategy),
}

fn split<B: Backend>(tensor: DispatchTensor) -> Input<B>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let float = "it was asked before whether the tensor is of this device";
    match tensor.autodiff {
        DispatchAutodiffContext::Disabled => {
            let tensor = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor);
            Input::Plain(tensor.expect(float).float())
        }
        DispatchAutodiffContext::Enabled(strategy) => {
            // The primitive is the same with either strategy.
            let tensor = DispatchTensor {
                autodiff: DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled),
                ..tensor
            };
            let tensor = <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::try_into_backend(tensor);
            Input::Tracked(tensor.expect(float).float(), strategy)
        }
    }
}

/// Does an operation on tensors for all of which [`is_of`] holds.
pub fn apply<const N: usize, const D: usize, V: Numbers, O: Operation<N, V>>(
    inputs: [DispatchTensor; N],
    operation: O,
) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<V::Backend>
        + DispatchKindConversion<Autodiff<V::Backend>>
        + DispatchKindConversion<Autodiff<V::Backend, BalancedCheckpointing>>,
{
    let inputs = inputs.map(split::<V::Backend>);
    let strategy = inputs.iter().find_map(|input| match input {
        Input::Plain(_) => None,
        Input::Tracked(_, strategy) => Some(*strategy),
    });
    let Some(strategy) = strategy else {
        let inputs = inputs.map(|input| match input {
            Input::Plain(tensor) => V::from_primitive(tensor),
            Input::Tracked(..) => unreachable!("all inputs are plain"),
        });
        return wrap::<V::Backend, D>(BackendTensor::Float(operation.forward(inputs).0.into_primitive()));
    };
    let inputs = inputs.map(|input| match input {
        Input::Plain(tensor) => Autodiff::<V::Backend>::from_inner(tensor),
        Input::Tracked(tensor, _) => tensor,
    });
    match strategy {
        GradientCheckpointingStrategy::Disabled => {
            let output = record::<NoCheckpointing, N, V, O>(inputs, operation);
            wrap::<Autodiff<V::Backend>, D>(BackendTensor::Float(output))
        }
        GradientCheckpointingStrategy::Balanced => {
            let output = record::<BalancedCheckpointing, N, V, O>(inputs, operation);
            wrap::<Autodiff<V::Backend, BalancedCheckpointing>, D>(BackendTensor::Float(output))
        }
    }
}

/// Does an operation and puts it into the graph.
fn record<C: CheckpointStrategy, const N: usize, V: Numbers, O: Operation<N, V>>(
    inputs: [FloatTensor<Autodiff<V::Backend>>; N],
    operation: O,
) -> FloatTensor<Autodiff<V::Backend>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let ids = nodes.each_ref().map(|node| node.id());
    let prepared = Step::<V, O>(PhantomData).prepare::<C>(nodes);
    let prepared = if O::IS_CHEAP {
        let again = Again { operation: operation.clone(), inputs: ids, numbers: PhantomData::<V> };
        prepared.memory_bound().retro_forward(again).parents(&inputs)
    } else {
        prepared.compute_bound()
    };
    let values = inputs.each_ref().map(|input| V::from_primitive(input.clone().into_primitive()));
    match prepared.stateful() {
        OpsKind::Tracked(mut prepared) => {
            let mut asked = [None; N];
            for (asked, (input, asks)) in asked.iter_mut().zip(inputs.iter().zip(O::ASKS_FOR)) {
                *asked = asks.then(|| prepared.checkpoint(input));
            }
            drop(inputs);
            let (output, kept) = operation.forward(values);
            prepared.finish(State { operation, kept, asked }, output.into_primitive())
        }
        OpsKind::UnTracked(prepared) => {
            drop(inputs);
            prepared.finish(operation.forward(values).0.into_primitive())
        }
    }
}

/// How to do an operation once more.
#[derive(Debug)]
struct Again<V, O, const N: usize> {
    operation: O,
    inputs: [NodeId; N],
    numbers: PhantomData<V>,
}

impl<const N: usize, V: Numbers, O: Operation<N, V>> RetroForward for Again<V, O, N> {
    fn forward(&self, states: &mut BackwardStates, node: NodeId) {
        let inputs = self.inputs.map(|input| V::from_primitive(states.get_state::<FloatTensor<V::Backend>>(&input)));
        states.save(node, self.operation.forward(inputs).0.into_primitive());
    }
}

fn wrap<B: Backend, const D: usize>(tensor: BackendTensor<B>) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    Tensor::from_dispatch(<DispatchTensor as DispatchKindConversion<B>>::from_backend(tensor))
}

#[derive(Debug)]
struct Step<V, O>(PhantomData<(V, O)>);

/// What the way back of an operation begins with.
#[derive(Debug, Clone)]
struct State<O, K, const N: usize> {
    operation: O,
    kept: K,
    /// The inputs that it asks for.
    asked: [Option<NodeId>; N],
}

impl<const N: usize, V: Numbers, O: Operation<N, V>> Backward<V::Backend, N> for Step<V, O> {
    type State = State<O, O::Kept, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let gradient = V::from_primitive(gradients.consume::<V::Backend>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let State { operation, kept, asked } = ops.state;
        let inputs = asked.map(|id| id.map(|id| V::from_primitive(checkpointer.retrieve_node_output(id))));
        for (parent, gradient) in ops.parents.into_iter().zip(operation.backward(kept, inputs, gradient, wanted)) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<V::Backend>(parent.id, gradient.into_primitive());
            }
        }
    }
}
