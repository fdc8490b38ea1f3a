//! Checks of a translator that the user gives.

use super::inputs::Inputs;
use super::translation::Orientation;
use crate::domain::Domain;
use crate::error::{Error, Result};
use crate::run::RunFolder;

/// How many times as fine or as coarse as the translator's pixels an image's may be before it is told.
const FAR: f64 = 3.0;

/// Refuses a run that has learnt from held-out images or cannot be given these images; notes what is unusual.
pub fn check_run(run: &RunFolder, orientation: Orientation, inputs: &mut Inputs) -> Result<()> {
    let split = run.data().split.of(orientation.of(Domain::Target));
    let seen = |name: &str| split.train.iter().chain(&split.validation).any(|known| known == name);
    let leaked = inputs.targets.iter().find(|target| target.is_held_out && seen(&target.case.name));
    if let Some(target) = leaked {
        return Err(Error::run(
            run.root(),
            format!(
                "it was trained on {}, which is to be held out: hold out subjects of its test part, or train a \
                 translator without it",
                target.case.name
            ),
        ));
    }
    let Some(working) = run.data().pixel_size_um else {
        let knows = inputs.targets.iter().any(|target| target.case.pixel_size_um.is_some());
        if knows {
            inputs.notes.push(
                "the translator was trained without pixel sizes, so images are translated as they are: they must be of \
                 the pixel size that it was trained at"
                    .into(),
            );
        }
        return Ok(());
    };
    if let Some(target) = inputs.targets.iter().find(|target| target.case.pixel_size_um.is_none()) {
        return Err(Error::image(
            &target.case.path,
            format!(
                "its pixel size is not known, and the translator works at {working} um per pixel: give \
                 --target-pixel-size-um"
            ),
        ));
    }
    let is_far = |size: f64| size / working > FAR || working / size > FAR;
    let far = inputs.targets.iter().filter_map(|target| Some((target, target.case.pixel_size_um?)));
    let far: Vec<_> = far.filter(|(_, size)| is_far(*size)).collect();
    if let Some((target, size)) = far.first() {
        inputs.notes.push(format!(
            "{} images, such as {} at {size} um per pixel, are resampled to the translator's {working} um: what is \
             finer is lost, and what is coarser is blurred",
            far.len(),
            target.name
        ));
    }
    Ok(())
}
