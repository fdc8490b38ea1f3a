//! A network in the runtime: prepared once for each size of patch, run on patches.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::tract_ndarray::{ArrayView2, IxDyn};
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, Tensor, TractResult, TypedSimplePlan,
    tvec,
};
use tract_onnx::tract_hir::infer::Factoid;

use super::graph::Graph;
use super::guarded;
use crate::error::{Error, Result};
use crate::segmentation::bioimage::{Axis, Description, Reason, SizeRule};

/// A network that takes patches of certain sizes.
#[derive(Debug)]
pub(super) struct Network {
    path: PathBuf,
    definition: Definition,
    sizes: [SizeRule; 2],
    channels: usize,
    /// For patches of the size last used.
    prepared: Mutex<([usize; 2], Arc<TypedSimplePlan>)>,
}

/// A network whose sizes are still open.
#[derive(Debug)]
struct Definition {
    model: InferenceModel,
    input: DatumType,
    input_axes: Vec<Axis>,
    output_axes: Vec<Axis>,
}

/// Axes without a description: those of most networks for images.
const USUAL_AXES: [Axis; 4] = [Axis::Single, Axis::Channel, Axis::Y, Axis::X];

/// Side of a patch, in pixels, where the network leaves it open; it can be halved as often as any network does.
const USUAL_SIDE: usize = 256;

/// The largest side of a patch, in pixels; activations of a larger one fill the memory.
const LARGEST_SIDE: usize = 8192;

impl Network {
    /// Makes a network ready for patches of [`Self::patch_size`].
    pub(super) fn new(path: &Path, graph: &Graph, description: Option<&Description>) -> Result<Self> {
        Self::ready(path, graph, description).map_err(|reason| Error::weights(path, reason))
    }

    fn ready(path: &Path, graph: &Graph, description: Option<&Description>) -> Reason<Self> {
        let (input_axes, output_axes, described) = match description {
            Some(known) => (known.input_axes.clone(), known.output_axes.clone(), known.sizes),
            None => (USUAL_AXES.to_vec(), USUAL_AXES.to_vec(), [SizeRule::ANY; 2]),
        };
        let sizes = match &graph.input_shape {
            Some(shape) => check_input(shape, &input_axes, described)?,
            None => described,
        };
        let patch = sizes.map(|rule| rule.at_least(USUAL_SIDE));
        if let Some(side) = patch.iter().find(|side| !(1..=LARGEST_SIDE).contains(*side)) {
            return Err(format!("it takes patches with a side of {side} pixels; the largest is {LARGEST_SIDE}"));
        }
        let model = graph.to_network(path.parent().and_then(Path::to_str))?;
        let input = model.input_fact(0).ok().and_then(|fact| fact.datum_type.concretize()).unwrap_or(DatumType::F32);
        let definition = Definition { model, input, input_axes, output_axes };
        let (plan, channels) = definition.prepare(patch)?;
        Ok(Self { path: path.to_path_buf(), definition, sizes, channels, prepared: Mutex::new((patch, plan)) })
    }

    /// Channels of the output.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Height and width of the patches to give, in pixels.
    pub(super) fn patch_size(&self) -> [usize; 2] {
        self.sizes.map(|rule| rule.at_least(USUAL_SIDE))
    }

    /// The output for one patch.
    ///
    /// # Shapes
    /// - patch: `[height, width]`, of this `size`
    /// - output: `[channels, height, width]`
    pub(super) fn run(&self, patch: &[f32], size: [usize; 2]) -> Result<Vec<f32>> {
        let refuse = |reason| Error::weights(&self.path, reason);
        let plan = self.plan(size).map_err(refuse)?;
        guarded(|| self.definition.run(&plan, patch, size))
            .map_err(|reason| refuse(format!("it fails on a patch of {} x {} pixels ({reason})", size[0], size[1])))
    }

    fn plan(&self, size: [usize; 2]) -> Reason<Arc<TypedSimplePlan>> {
        if let Some((side, rule)) = size.into_iter().zip(self.sizes).find(|(side, rule)| !rule.allows(*side)) {
            return Err(format!("it takes no patch with a side of {side} pixels, only {rule}"));
        }
        // A plan is replaced only when it is complete, so a panic elsewhere leaves a good one.
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.0 != size {
            *prepared = (size, self.definition.prepare(size)?.0);
        }
        Ok(Arc::clone(&prepared.1))
    }
}

impl Definition {
    /// The network for patches of one size, and how many channels it gives.
    fn prepare(&self, size: [usize; 2]) -> Reason<(Arc<TypedSimplePlan>, usize)> {
        let plan = guarded(|| {
            let fact = InferenceFact::dt_shape(self.input, self.input_shape(size));
            self.model.clone().with_input_fact(0, fact)?.into_optimized()?.into_runnable()
        })
        .map_err(|reason| format!("it does not work on one patch of {} x {} pixels ({reason})", size[0], size[1]))?;
        let channels = self.check_output(&plan, size)?;
        Ok((plan, channels))
    }

    fn input_shape(&self, size: [usize; 2]) -> Vec<usize> {
        let side = |axis: &Axis| match axis {
            Axis::Y => size[0],
            Axis::X => size[1],
            Axis::Single | Axis::Channel => 1,
        };
        self.input_axes.iter().map(side).collect()
    }

    /// The number of channels of an output that has a score for each pixel of the patch.
    fn check_output(&self, plan: &TypedSimplePlan, size: [usize; 2]) -> Reason<usize> {
        let fact = plan.model().output_fact(0).map_err(|error| format!("its output is unknown ({error:#})"))?;
        if !fact.datum_type.is_float() {
            return Err(
                "its output is whole numbers, not class scores; export it without the final argmax or threshold".into(),
            );
        }
        let shape = fact.shape.as_concrete().ok_or("the size of its output depends on the image")?;
        let mut channels = 1;
        let fits = shape.len() == self.output_axes.len()
            && self.output_axes.iter().zip(shape).all(|(axis, side)| match axis {
                Axis::Single => *side == 1,
                Axis::Y => *side == size[0],
                Axis::X => *side == size[1],
                Axis::Channel => {
                    channels = *side;
                    channels > 0
                }
            });
        if fits {
            return Ok(channels);
        }
        Err(format!(
            "for a patch of {} x {} pixels its output has the shape {shape:?}; only outputs of the same height and \
             width with channels for classes are understood",
            size[0], size[1]
        ))
    }

    fn run(&self, plan: &Arc<TypedSimplePlan>, patch: &[f32], size: [usize; 2]) -> TractResult<Vec<f32>> {
        let rows = ArrayView2::from_shape(size, patch)?;
        let rows_first = position(&self.input_axes, Axis::Y) < position(&self.input_axes, Axis::X);
        let values: Vec<f32> = if rows_first { rows } else { rows.reversed_axes() }.iter().copied().collect();
        let input = Tensor::from_shape(&self.input_shape(size), &values)?.cast_to_dt(self.input)?.into_owned();
        let output = plan.run(tvec!(input.into()))?;
        let output = output[0].cast_to::<f32>()?;
        let mut order: Vec<usize> = (0..self.output_axes.len()).collect();
        order.sort_by_key(|index| match self.output_axes[*index] {
            Axis::Single => 0,
            Axis::Channel => 1,
            Axis::Y => 2,
            Axis::X => 3,
        });
        let output = output.to_plain_array_view::<f32>()?;
        Ok(output.permuted_axes(IxDyn(&order)).iter().copied().collect()) // [channels, height, width]
    }
}

fn position(axes: &[Axis], wanted: Axis) -> Option<usize> {
    axes.iter().position(|axis| *axis == wanted)
}

/// The sizes of patches that both the file and its description allow.
fn check_input(shape: &[Option<usize>], axes: &[Axis], described: [SizeRule; 2]) -> Reason<[SizeRule; 2]> {
    let written: Vec<String> = shape.iter().map(|size| size.map_or("?".into(), |size| size.to_string())).collect();
    let written = written.join(", ");
    if shape.len() != axes.len() {
        return Err(format!(
            "its input has {} axes [{written}], not {}; only grey 2D images are understood, [batch, 1, height, width] \
             unless a BioImage.IO description says otherwise",
            shape.len(),
            axes.len()
        ));
    }
    let mut sizes = described;
    for (index, (size, axis)) in shape.iter().zip(axes).enumerate() {
        let Some(size) = *size else { continue };
        match axis {
            Axis::Channel if size != 1 => {
                return Err(format!(
                    "its input [{written}] has {size} channels; only one grey channel is understood (where channels \
                     are the last axis, a BioImage.IO description must say so)"
                ));
            }
            // A batch of a fixed size is tried with one image.
            Axis::Single if size != 1 && index > 0 => {
                return Err(format!("its input [{written}] holds several planes; only 2D images are understood"));
            }
            Axis::Y => sizes[0] = agreed(size, described[0])?,
            Axis::X => sizes[1] = agreed(size, described[1])?,
            Axis::Channel | Axis::Single => (),
        }
    }
    Ok(sizes)
}

fn agreed(size: usize, described: SizeRule) -> Reason<SizeRule> {
    if described.allows(size) {
        return Ok(SizeRule::fixed(size));
    }
    Err(format!("it takes patches with a side of {size} pixels, but its description says {described}"))
}
