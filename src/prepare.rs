//! From two folders to the planes that training, validation and test see: read, split by subject, brought to one
//! working resolution.

use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::dataset::{self, Image, Skipped};
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::imaging::{Plane, rescale};

/// The names of the images in each part, as saved with a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitNames {
    /// To learn from.
    pub train: Vec<String>,
    /// To choose the best checkpoint by.
    pub validation: Vec<String>,
    /// Never looked at in training.
    pub test: Vec<String>,
}

/// The images of both domains, ready to train on.
#[derive(Debug)]
pub struct Prepared {
    /// Planes to learn from, at the working resolution.
    pub train: Pair<Vec<Plane>>,
    /// Planes to validate on, at the working resolution.
    pub validation: Pair<Vec<Plane>>,
    /// Which image is in which part.
    pub split: Pair<SplitNames>,
    /// Micrometres per pixel of all planes; none when a domain's pixel size is not known and nothing was resampled.
    pub pixel_size_um: Option<f64>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Files left out, with reasons.
    pub skipped: Vec<Skipped>,
}

/// Reads and splits both domains.
pub fn prepare(config: &TrainConfig) -> Result<Prepared> {
    let mut notes = Vec::new();
    let mut skipped = Vec::new();
    let mut images = Pair::try_from_fn(|domain| {
        let data = config.data.of(domain);
        let dataset = dataset::discover_as(&data.dir, data.format)?;
        notes.push(format!("{}: {}", domain.name(), dataset.summary()));
        let loaded =
            dataset::load(&dataset, (data.pixel_size_um > 0.0).then_some(data.pixel_size_um), &data.reading())?;
        notes.extend(loaded.notes.into_iter().map(|note| format!("{}: {note}", domain.name())));
        skipped.extend(loaded.skipped);
        Ok::<_, Error>(loaded.images)
    })?;
    let pixel_size_um = working_pixel_size(config, &images, &mut notes)?;
    for domain in Domain::BOTH {
        let images = match domain {
            Domain::Labelled => &mut images.labelled,
            Domain::Target => &mut images.target,
        };
        for image in images.iter_mut() {
            image.plane = to_working_size(&image.plane, image.case.pixel_size_um, pixel_size_um);
        }
        let crop = config.networks.crop;
        let small = images.iter().filter(|i| i.plane.height() < crop || i.plane.width() < crop).count();
        if small > 0 {
            notes.push(format!(
                "{}: {small} of {} images are smaller than the crop of {crop} px at the working resolution and are \
                 mirrored at their borders",
                domain.name(),
                images.len()
            ));
        }
    }
    let parts = Pair::try_from_fn(|domain| {
        let subjects: Vec<&str> = images.of(domain).iter().map(|image| image.case.subject.as_str()).collect();
        let data = config.data.of(domain);
        dataset::split(&subjects, &data.hold_out, config.seed).map_err(|reason| Error::dataset(&data.dir, reason))
    })?;
    for domain in Domain::BOTH {
        notes.extend(parts.of(domain).note.iter().map(|note| format!("{}: {note}", domain.name())));
    }
    let planes = |part: fn(&dataset::Split) -> &Vec<usize>| {
        Pair::from_fn(|domain| {
            part(parts.of(domain)).iter().map(|&i| images.of(domain)[i].plane.clone()).collect::<Vec<_>>()
        })
    };
    let split = Pair::from_fn(|domain| {
        let names = |part: &[usize]| part.iter().map(|&i| images.of(domain)[i].case.name.clone()).collect();
        let parts = parts.of(domain);
        SplitNames { train: names(&parts.train), validation: names(&parts.validation), test: names(&parts.test) }
    });
    Ok(Prepared {
        train: planes(|split| &split.train),
        validation: planes(|split| &split.validation),
        split,
        pixel_size_um,
        notes,
        skipped,
    })
}

/// A plane at the working resolution; as it is where either pixel size is unknown.
pub fn to_working_size(plane: &Plane, pixel_size_um: Option<f64>, working_um: Option<f64>) -> Plane {
    match (pixel_size_um, working_um) {
        (Some(from), Some(to)) if from != to => rescale(plane, from, to),
        _ => plane.clone(),
    }
}

/// The pixel size to work at: the given one, or the coarser of the two domains' medians, so that no detail is invented.
fn working_pixel_size(config: &TrainConfig, images: &Pair<Vec<Image>>, notes: &mut Vec<String>) -> Result<Option<f64>> {
    let unknown = |domain: Domain| images.of(domain).iter().find(|image| image.case.pixel_size_um.is_none());
    if let Some((domain, image)) = Domain::BOTH.iter().find_map(|domain| unknown(*domain).map(|image| (domain, image)))
    {
        if config.pixel_size_um > 0.0 {
            return Err(Error::dataset(
                &config.data.of(*domain).dir,
                format!(
                    "the pixel size of {} is not known, so it cannot be resampled to {} um: give --{}-pixel-size-um",
                    image.case.path.display(),
                    config.pixel_size_um,
                    domain.name()
                ),
            ));
        }
        notes.push(format!(
            "{}: the pixel size is not known, so the images of both domains are used as they are; structures of \
             different size in pixels cannot be translated well: give --{}-pixel-size-um",
            domain.name(),
            domain.name()
        ));
        return Ok(None);
    }
    let median = |domain: Domain| {
        let mut sizes: Vec<f64> = images.of(domain).iter().filter_map(|image| image.case.pixel_size_um).collect();
        sizes.sort_by(f64::total_cmp);
        sizes[sizes.len() / 2]
    };
    Ok(Some(if config.pixel_size_um > 0.0 {
        config.pixel_size_um
    } else {
        median(Domain::Labelled).max(median(Domain::Target))
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Preset;
    use crate::imaging::{BitDepth, write};

    /// Settings for two folders of four images each, `a.png` to `d.png`.
    fn settings(root: &Path) -> TrainConfig {
        let mut config = TrainConfig::preset(Preset::Demo);
        for (data, folder) in [(&mut config.data.labelled, "labelled"), (&mut config.data.target, "target")] {
            data.dir = root.join(folder);
            std::fs::create_dir(&data.dir).unwrap();
            for (i, name) in ["a.png", "b.png", "c.png", "d.png"].iter().enumerate() {
                let plane = Plane::from_fn(40, 40, |y, x| (y * 40 + x + i) as f32 / 1700.0);
                write(&data.dir.join(name), &plane, BitDepth::Eight, None).unwrap();
            }
        }
        config
    }

    #[test]
    fn held_out_subjects_are_the_test_of_their_domain() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(folder.path());
        config.data.target.hold_out = vec!["b".into(), "d".into()];
        let prepared = prepare(&config).unwrap();
        assert_eq!(prepared.split.target.test, ["b", "d"]);
        assert_eq!((prepared.train.target.len(), prepared.validation.target.len()), (1, 1));
        assert_eq!((prepared.train.labelled.len(), prepared.split.labelled.test.len()), (2, 1));
    }

    #[test]
    fn an_unknown_subject_is_refused_with_the_folder_and_those_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(folder.path());
        config.data.labelled.hold_out = vec!["x".into()];
        let error = prepare(&config).unwrap_err().to_string();
        assert!(error.contains("labelled: there is no subject x to hold out; subjects: a, b, c, d"), "{error}");
    }
}
