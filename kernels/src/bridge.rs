//! Operations of ours in Burn's graph: reach the numbers of a tensor on the processor, and hand a gradient back.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
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

/// What an operation keeps for its way back.
pub trait Differentiable<const N: usize>: Debug + Clone + Send + 'static {
    /// The gradients of the inputs that want one, from that of the output.
    fn backward(self, gradient: Values, wanted: [bool; N]) -> [Option<Values>; N];
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
        (DispatchTensorKind::Autodiff(inner), DispatchAutodiffContext::Enabled(strategy)) => {
            strategy == GradientCheckpointingStrategy::Disabled && on_processor(inner)
        }
        (kind, DispatchAutodiffContext::Disabled) => on_processor(kind),
        _ => false,
    }
}

/// The numbers of a tensor for which [`is_ours`] holds; its gradient is not followed.
pub fn plain_values<const D: usize>(tensor: &Tensor<D>) -> Values {
    Values::from_tensor(match split(tensor.clone().into_dispatch()) {
        Input::Plain(tensor) => tensor,
        Input::Tracked(tensor) => tensor.into_primitive(),
    })
}

enum Input {
    Plain(FlexTensor),
    Tracked(FloatTensor<Autodiff<Flex>>),
}

fn split(tensor: DispatchTensor) -> Input {
    let float = "it was asked before whether the tensor is ours";
    if tensor.autodiff == DispatchAutodiffContext::Disabled {
        Input::Plain(<DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(tensor).expect(float).float())
    } else {
        let tensor = <DispatchTensor as DispatchKindConversion<Autodiff<Flex>>>::try_into_backend(tensor);
        Input::Tracked(tensor.expect(float).float())
    }
}

/// Does an operation on tensors for which [`is_ours`] holds. `forward` gives the output and what the way back needs.
pub fn apply<const N: usize, const D: usize, O: Differentiable<N>>(
    inputs: [DispatchTensor; N],
    forward: impl FnOnce([Values; N]) -> (Values, O),
) -> Tensor<D> {
    let inputs = inputs.map(split);
    if inputs.iter().all(|input| matches!(input, Input::Plain(_))) {
        let inputs = inputs.map(|input| match input {
            Input::Plain(tensor) => Values::from_tensor(tensor),
            Input::Tracked(_) => unreachable!("all inputs are plain"),
        });
        return wrap::<Flex, D>(BackendTensor::Float(forward(inputs).0.0));
    }
    let inputs = inputs.map(|input| match input {
        Input::Plain(tensor) => Autodiff::<Flex>::from_inner(tensor),
        Input::Tracked(tensor) => tensor,
    });
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| Values::from_tensor(input.into_primitive()));
    let step = Step::<O>(PhantomData);
    let output = match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, kept) = forward(inputs);
            prepared.finish(kept, output.0)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(inputs).0.0),
    };
    wrap::<Autodiff<Flex>, D>(BackendTensor::Float(output))
}

fn wrap<B: burn::backend::Backend, const D: usize>(tensor: BackendTensor<B>) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    Tensor::from_dispatch(<DispatchTensor as DispatchKindConversion<B>>::from_backend(tensor))
}

#[derive(Debug)]
struct Step<O>(PhantomData<O>);

impl<const N: usize, O: Differentiable<N>> Backward<Flex, N> for Step<O> {
    type State = O;

    fn backward(self, ops: Ops<O, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Values::from_tensor(gradients.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, gradient) in ops.parents.into_iter().zip(ops.state.backward(gradient, wanted)) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient.0);
            }
        }
    }
}
