//! A running average of the weights that an optimiser moves, moved in the same pass where the optimiser can do both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::DispatchTensor;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, LearningRate, ModuleOptimizer};
use burn::tensor::Tensor;

use super::elementwise::blend;

/// The average of one parameter before it is moved: decay·average + (1 − decay)·weights.
pub struct Average<const D: usize> {
    pub values: Tensor<D>,
    pub decay: f64,
}

/// The average of the parameter that is moved next. Burn's optimisers are given a parameter at a time and know of no
/// average, so it is laid here beside them. Copies share it.
#[derive(Clone, Default)]
pub struct Beside(Arc<Mutex<Option<Laid>>>);

/// An average of any rank, with its decay until it is moved.
struct Laid {
    values: DispatchTensor,
    decay: Option<f64>,
}

impl Beside {
    /// The average to move, if one waits that can be moved.
    pub fn waiting<const D: usize>(&self, can_be_moved: impl Fn(&Tensor<D>) -> bool) -> Option<Average<D>> {
        let mut place = self.place();
        let Laid { values, decay } = place.take()?;
        let values = Tensor::from_dispatch(values);
        match decay.filter(|_| can_be_moved(&values)) {
            Some(decay) => Some(Average { values, decay }),
            None => {
                *place = Some(Laid { values: values.into_dispatch(), decay });
                None
            }
        }
    }

    /// Lays a moved average back.
    pub fn moved<const D: usize>(&self, average: Tensor<D>) {
        *self.place() = Some(Laid { values: average.into_dispatch(), decay: None });
    }

    fn place(&self) -> MutexGuard<'_, Option<Laid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An optimiser of a module with a running average of its weights.
#[derive(Clone)]
pub struct Averaging {
    optimiser: ModuleOptimizer,
    beside: Beside,
}

impl From<ModuleOptimizer> for Averaging {
    /// An optimiser that knows of no average: it is moved in a pass of its own.
    fn from(optimiser: ModuleOptimizer) -> Self {
        Self::new(optimiser, Beside::default())
    }
}

impl Averaging {
    /// An optimiser that looks for averages in `beside`.
    pub(crate) fn new(optimiser: ModuleOptimizer, beside: Beside) -> Self {
        Self { optimiser, beside }
    }

    /// The optimiser, for saving.
    pub fn optimiser(&self) -> &ModuleOptimizer {
        &self.optimiser
    }

    /// The same with the state that `load` gives to the optimiser.
    pub fn with_state<E>(self, load: impl FnOnce(ModuleOptimizer) -> Result<ModuleOptimizer, E>) -> Result<Self, E> {
        Ok(Self { optimiser: load(self.optimiser)?, beside: self.beside })
    }

    /// One step of a module, and its average as decay·average + (1 − decay)·weights of its new weights. `average` has the
    /// parameters of the module, without gradients; parameters without a gradient stay, and their average moves towards them.
    ///
    /// # Panics
    /// If the average lacks a parameter.
    pub fn step<M: Module>(
        &mut self,
        rate: LearningRate,
        module: &mut M,
        gradients: GradientsParams,
        average: &mut M,
        decay: f64,
    ) {
        let mut averages = Collect(GradientsParams::new());
        average.visit(&mut averages);
        let Collect(averages) = averages;
        // What was collected is alone now, and can be changed where it stands.
        *average = module.valid();
        if decay == 0.0 {
            // An average that begins may share its place with the old weights, and has it alone once those are gone.
            *module = self.optimiser.step(rate, module.clone(), gradients);
            *average = module.valid();
            *average = average.clone().map(&mut Blend { averages, decay });
        } else {
            let mut each = Each { averaging: self, rate, decay, gradients, averages, moved: GradientsParams::new() };
            *module = module.clone().map(&mut each);
            *average = module.valid().map(&mut Replace(each.moved));
        }
    }

    /// The same for one parameter.
    fn step_one<const D: usize>(
        &mut self,
        rate: LearningRate,
        param: Param<Tensor<D>>,
        gradient: Option<Tensor<D>>,
        average: Average<D>,
    ) -> (Param<Tensor<D>>, Tensor<D>) {
        let Average { values, decay } = average;
        *self.beside.place() = Some(Laid { values: values.into_dispatch(), decay: Some(decay) });
        let mut gradients = GradientsParams::new();
        if let Some(gradient) = gradient {
            gradients.register(param.id, gradient);
        }
        let param = self.optimiser.step(rate, param, gradients);
        let Laid { values, decay } = self.beside.place().take().expect("what is taken from there is laid back");
        let average = Tensor::from_dispatch(values);
        let average = match decay {
            None => average,
            Some(decay) => blend(average, param.val().without_autodiff(), decay),
        };
        (param, average)
    }
}

/// The parameters of a module. `GradientsParams` is Burn's container of tensors of any rank by parameter.
struct Collect(GradientsParams);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val());
    }
}

/// Moves parameters and their averages, one after the other.
struct Each<'a> {
    averaging: &'a mut Averaging,
    rate: LearningRate,
    decay: f64,
    gradients: GradientsParams,
    averages: GradientsParams,
    moved: GradientsParams,
}

impl ModuleMapper for Each<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let values = self.averages.remove(id).expect("the average has the parameters of the module");
        let average = Average { values, decay: self.decay };
        let (param, average) = self.averaging.step_one(self.rate, param, self.gradients.remove(id), average);
        self.moved.register(id, average);
        param
    }
}

/// Blends averages with the parameters of a module.
struct Blend {
    averages: GradientsParams,
    decay: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let average = self.averages.remove(param.id).expect("the average has the parameters of the module");
        let decay = self.decay;
        param.map(|weights| blend(average, weights, decay))
    }
}

/// Puts other tensors into a module.
struct Replace(GradientsParams);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let values = self.0.remove(param.id).expect("every parameter was moved");
        param.map(|_| values)
    }
}
