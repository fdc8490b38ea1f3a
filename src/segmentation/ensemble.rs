//! The trained networks of a model, asked together: all folds and all mirrorings averaged.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::f16;

use super::onnx::OnnxModel;
use crate::error::Result;
use crate::nn::Unet;

/// One trained network.
#[derive(Debug)]
pub enum Network {
    /// One of ours or of nnU-Net, and where it computes.
    Unet(Box<Unet>, Device),
    /// One of another kind; always on the processor.
    Onnx(Box<OnnxModel>),
}

/// Networks that answer together.
#[derive(Debug)]
pub struct Ensemble {
    /// The folds; at least one.
    pub networks: Vec<Network>,
    /// Classes, the background among them.
    pub classes: usize,
    /// Axes along which inputs are also shown mirrored: 0 for rows, 1 for columns.
    pub mirror_axes: Vec<usize>,
}

/// What an ensemble is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The class logits of each network, each the mean over the mirrorings.
    Logits,
    /// The same, and after them the votes: the mean over networks and mirrorings of each one's class probabilities, times
    /// [`WHOLE_VOTE`].
    LogitsAndVotes,
}

/// What the votes of a pixel add up to. In the corners of an image windows weigh so little that votes of 1 would get lost
/// where they are summed in 16 bits.
pub const WHOLE_VOTE: f32 = 256.0;

impl Ensemble {
    /// Values that [`ask`](Self::ask) gives for each pixel.
    pub fn channels(&self, question: Question) -> usize {
        let logits = self.networks.len() * self.classes;
        match question {
            Question::Logits => logits,
            Question::LogitsAndVotes => logits + self.classes,
        }
    }

    /// The networks' answers on patches.
    ///
    /// # Shapes
    /// - patches: `[height, width]` each, normalised
    /// - output: `[networks * classes, height, width]` each; with votes `[(networks + 1) * classes, height, width]`
    pub fn ask(&self, question: Question, patches: &[Vec<f32>], size: [usize; 2]) -> Result<Vec<Vec<f32>>> {
        let mirrorings = mirrorings(&self.mirror_axes);
        let looks: Vec<Look> = mirrorings
            .iter()
            .flat_map(|mirroring| (0..self.networks.len()).map(|network| (*mirroring, network)))
            .map(|(mirroring, network)| Look { mirroring, network })
            .collect();
        let answers = self.look(&looks, patches, size)?;
        let of_network = self.classes * size[0] * size[1];
        let of_networks = self.networks.len() * of_network;
        let mut means = vec![vec![0.0; self.channels(question) * size[0] * size[1]]; patches.len()];
        for (look, answers) in looks.iter().zip(answers) {
            for (means, mut answer) in means.iter_mut().zip(answers) {
                let (logits, votes) = means.split_at_mut(of_networks);
                add(&mut logits[look.network * of_network..][..of_network], &answer, 1.0 / mirrorings.len() as f32);
                if question == Question::LogitsAndVotes {
                    softmax(&mut answer, self.classes);
                    add(votes, &answer, WHOLE_VOTE / looks.len() as f32);
                }
            }
        }
        Ok(means)
    }

    /// The answers to all looks, in their order, each for all patches.
    ///
    /// A processor's cores take patches one by one, since one network keeps hardly more than one core busy; a graphics
    /// card is given all patches of a look together.
    fn look(&self, looks: &[Look], patches: &[Vec<f32>], size: [usize; 2]) -> Result<Vec<Vec<Vec<f32>>>> {
        let together = if self.networks.iter().any(Network::is_on_a_card) { patches.len() } else { 1 };
        let jobs: Vec<(usize, &[Vec<f32>])> =
            (0..looks.len()).flat_map(|look| patches.chunks(together).map(move |patches| (look, patches))).collect();
        let answer = |(look, patches): &(usize, &[Vec<f32>])| {
            let Look { mirroring, network } = looks[*look];
            let shown: Vec<Vec<f32>> = patches.iter().map(|patch| mirrored(patch, size, mirroring)).collect();
            let logits = self.networks[network].logits(&shown, self.classes, size)?;
            Ok(logits.iter().map(|logits| mirrored(logits, size, mirroring)).collect::<Vec<_>>())
        };
        let answers = if together == 1 { in_parallel(&jobs, answer) } else { jobs.iter().map(answer).collect() };
        let mut of_looks = vec![Vec::new(); looks.len()];
        for ((look, _), answer) in jobs.iter().zip(answers) {
            of_looks[*look].extend(answer?);
        }
        Ok(of_looks)
    }

    /// The mean over the networks of a row of logits, `[networks * classes, width]` to `[classes, width]`; in 16-bit
    /// floats, as nnU-Net adds up.
    pub fn combine(&self, row: &[f32]) -> Vec<f32> {
        let of_network = row.len() / self.networks.len();
        let count = f16::from_f32(self.networks.len() as f32);
        let sum = |i: usize| {
            let each = (0..self.networks.len()).map(|network| f16::from_f32(row[network * of_network + i]));
            each.fold(f16::ZERO, |sum, logit| sum + logit)
        };
        (0..of_network).map(|i| (sum(i) / count).to_f32()).collect()
    }
}

fn add(sums: &mut [f32], values: &[f32], weight: f32) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// Logits `[classes, pixels]` to probabilities.
pub fn softmax(logits: &mut [f32], classes: usize) {
    let pixels = logits.len() / classes;
    for x in 0..pixels {
        let largest = (0..classes).map(|class| logits[class * pixels + x]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for class in 0..classes {
            let value = &mut logits[class * pixels + x];
            *value = (*value - largest).exp();
            sum += *value;
        }
        (0..classes).for_each(|class| logits[class * pixels + x] /= sum);
    }
}

/// One way of asking: which network, about the image reversed along which axes.
#[derive(Clone, Copy)]
struct Look {
    mirroring: [bool; 2],
    network: usize,
}

/// The results of independent jobs, in their order, worked on by all cores.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let run = || {
        let mut done = Vec::new();
        while let Some((place, job)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, jobs.get(i)?)))
        {
            done.push((place, work(job)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

impl Network {
    fn is_on_a_card(&self) -> bool {
        matches!(self, Self::Unet(_, device) if *device != Device::flex())
    }

    fn logits(&self, patches: &[Vec<f32>], classes: usize, size: [usize; 2]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Unet(network, device) => {
                let values = patches.concat();
                let shape = [patches.len(), 1, size[0], size[1]];
                let input = Tensor::<4>::from_data(TensorData::new(values, shape), (device, DType::F32));
                let data = network.forward(input).into_data().convert::<f32>();
                let values = data.as_slice::<f32>().expect("the data was just converted to f32");
                Ok(values.chunks_exact(classes * size[0] * size[1]).map(<[f32]>::to_vec).collect())
            }
            Self::Onnx(model) => patches.iter().map(|patch| model.logits(patch, size)).collect(),
        }
    }
}

/// Every combination of the axes: which of rows and columns are reversed.
fn mirrorings(axes: &[usize]) -> Vec<[bool; 2]> {
    let choices = |axis: usize| if axes.contains(&axis) { vec![false, true] } else { vec![false] };
    let columns = choices(1);
    choices(0).into_iter().flat_map(|rows| columns.iter().map(move |columns| [rows, *columns])).collect()
}

/// Planes of `size`, one after the other, each reversed along the chosen axes.
fn mirrored(planes: &[f32], [height, width]: [usize; 2], [rows, columns]: [bool; 2]) -> Vec<f32> {
    let mut result = Vec::with_capacity(planes.len());
    for plane in planes.chunks_exact(height * width) {
        for y in 0..height {
            let row = &plane[if rows { height - 1 - y } else { y } * width..][..width];
            if columns {
                result.extend(row.iter().rev());
            } else {
                result.extend(row);
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, Precision, UnetConfig};
    use crate::random::Stream;

    #[test]
    fn planes_are_mirrored_one_by_one() {
        let planes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
        assert_eq!(mirrored(&planes, [2, 3], [true, false])[..6], [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        assert_eq!(mirrored(&planes, [2, 3], [false, true])[6..], [9.0, 8.0, 7.0, 12.0, 11.0, 10.0]);
        let twice = mirrored(&mirrored(&planes, [2, 3], [true, true]), [2, 3], [true, true]);
        assert_eq!(twice, planes);
        assert_eq!(mirrorings(&[0, 1]).len(), 4);
        assert_eq!(mirrorings(&[1]), [[false, false], [false, true]]);
        assert_eq!(mirrorings(&[]), [[false, false]]);
    }

    #[test]
    fn a_mirrored_image_gets_the_mirrored_answer() {
        let config = UnetConfig::plain(3, vec![4, 4], vec![[1, 1], [2, 2]]);
        let device = Device::flex();
        let network = |seed| {
            let network = config.init(&mut Init::new(Stream::new(seed), &device, Precision::F32));
            Network::Unet(Box::new(network), device.clone())
        };
        let ensemble = Ensemble { networks: vec![network(1), network(2)], classes: 3, mirror_axes: vec![0, 1] };
        let patch = Stream::new(3).normals(8 * 8);
        for mirroring in [[true, false], [false, true]] {
            let ask = |patch| ensemble.ask(Question::LogitsAndVotes, &[patch], [8, 8]).unwrap().remove(0);
            let straight = ask(patch.clone());
            let reversed = ask(mirrored(&patch, [8, 8], mirroring));
            let back = mirrored(&reversed, [8, 8], mirroring);
            assert!(straight.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0)));
            assert!(straight.iter().zip(&reversed).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }

    #[test]
    fn votes_are_the_mean_probabilities_of_all_networks_and_mirrorings() {
        let config = UnetConfig::plain(2, vec![4, 4], vec![[1, 1], [2, 2]]);
        let device = Device::flex();
        let network = |seed| {
            let network = config.init(&mut Init::new(Stream::new(seed), &device, Precision::F32));
            Network::Unet(Box::new(network), device.clone())
        };
        let alone = |seed, mirror_axes| Ensemble { networks: vec![network(seed)], classes: 2, mirror_axes };
        let patch = Stream::new(3).normals(8 * 8);
        let ask = |ensemble: &Ensemble| {
            ensemble.ask(Question::LogitsAndVotes, std::slice::from_ref(&patch), [8, 8]).unwrap().remove(0)
        };
        // One network that looks once votes for what its logits say.
        let [first, second] = [1, 2].map(|seed| ask(&alone(seed, Vec::new())));
        let mut probabilities = first[..128].to_vec();
        softmax(&mut probabilities, 2);
        assert!((0..128).all(|i| first[128 + i] == WHOLE_VOTE * probabilities[i]));
        let both = Ensemble { networks: vec![network(1), network(2)], classes: 2, mirror_axes: Vec::new() };
        let both = ask(&both);
        assert_eq!(both[..256], [&first[..128], &second[..128]].concat());
        let mean = |i: usize| (first[128 + i] + second[128 + i]) / 2.0;
        assert!((0..128).all(|i| (both[256 + i] - mean(i)).abs() < 1e-4));
        let mirrored = ask(&alone(1, vec![0, 1]));
        assert!((0..64).all(|i| (mirrored[128 + i] + mirrored[192 + i] - WHOLE_VOTE).abs() < 1e-3));
        assert_ne!(mirrored[128..], first[128..]);
    }

    #[test]
    fn probabilities_add_up_to_one_and_large_logits_do_not_overflow() {
        let mut row = vec![0.0, 500.0, 2f32.ln(), 500.0, 0.0, -500.0];
        softmax(&mut row, 3);
        let expected = [0.25, 0.5, 0.5, 0.5, 0.25, 0.0];
        assert!(row.iter().zip(expected).all(|(value, e)| (value - e).abs() < 1e-6), "{row:?}");
    }
}
