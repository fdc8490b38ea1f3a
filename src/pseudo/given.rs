//! What a translator, given or to be trained, says of the images; checks of one that is given.

use super::inputs::{InputOptions, Inputs};
use super::pipeline::TranslatorChoice;
use super::translation::Orientation;
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::imaging::ReadOptions;
use crate::run::RunFolder;

/// How many times as fine or as coarse as the translator's pixels an image's may be before it is told.
const FAR: f64 = 3.0;

/// Images are read as the translator's settings have it, unless the user says otherwise; one that is trained here follows
/// the user.
pub fn settle_readings(inputs: &mut InputOptions, translator: &mut TranslatorChoice) -> Result<()> {
    let known = match &*translator {
        TranslatorChoice::Given { run, orientation } => {
            let run = RunFolder::open(run)?;
            Pair::from_fn(|domain| run.config().data.of(orientation.of(domain)).intensity)
        }
        TranslatorChoice::Train(config) => {
            inputs.labelled_page = inputs.labelled_page.or(config.data.labelled.page);
            inputs.target_page = inputs.target_page.or(config.data.target.page);
            Pair::from_fn(|domain| config.data.of(domain).intensity)
        }
    };
    inputs.labelled_intensity.get_or_insert(known.labelled);
    inputs.target_intensity.get_or_insert(known.target);
    if let TranslatorChoice::Train(config) = translator {
        for (domain, data) in [(Domain::Labelled, &mut config.data.labelled), (Domain::Target, &mut config.data.target)]
        {
            let ReadOptions { page, intensity } = inputs.reading(domain);
            (data.page, data.intensity) = (page, intensity);
        }
    }
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, TrainConfig};
    use crate::imaging::Intensity;
    use crate::run::RunData;

    const RANGE: Intensity = Intensity::Range { low: 5.0, high: 9.0 };

    /// Settings that read the two looks by two rules.
    fn settings() -> TrainConfig {
        let mut config = TrainConfig::preset(Preset::Demo);
        (config.data.labelled.intensity, config.data.target.intensity) = (RANGE, Intensity::Full);
        config
    }

    #[test]
    fn images_are_read_as_the_translator_was_trained_unless_the_user_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        RunFolder::create(folder.path(), &settings(), &RunData::default()).unwrap();
        let read = |orientation, target_intensity| {
            let mut inputs = InputOptions { target_intensity, target_page: Some(3), ..InputOptions::default() };
            let run = folder.path().to_path_buf();
            settle_readings(&mut inputs, &mut TranslatorChoice::Given { run, orientation }).unwrap();
            Domain::BOTH.map(|domain| (inputs.reading(domain).intensity, inputs.reading(domain).page))
        };
        assert_eq!(read(Orientation::AsTrained, None), [(RANGE, None), (Intensity::Full, Some(3))]);
        assert_eq!(read(Orientation::Exchanged, None), [(Intensity::Full, None), (RANGE, Some(3))]);
        let given = Some(Intensity::Automatic);
        assert_eq!(read(Orientation::AsTrained, given), [(RANGE, None), (Intensity::Automatic, Some(3))]);
    }

    #[test]
    fn a_translator_to_be_trained_reads_as_the_user_says() {
        let mut inputs = InputOptions { target_intensity: Some(RANGE), labelled_page: Some(2), ..Default::default() };
        let mut choice = TranslatorChoice::Train(Box::new(settings()));
        settle_readings(&mut inputs, &mut choice).unwrap();
        let TranslatorChoice::Train(config) = choice else { panic!("it is to be trained") };
        for domain in Domain::BOTH {
            assert_eq!(config.data.of(domain).reading(), inputs.reading(domain));
        }
        assert_eq!((config.data.target.intensity, config.data.labelled.page), (RANGE, Some(2)));
        assert_eq!(config.data.labelled.intensity, RANGE, "what is not said stays as the settings have it");
    }
}
