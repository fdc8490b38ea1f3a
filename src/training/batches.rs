//! The seeded crops and random numbers that training sees.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::balance::{Balance, Corner};
use crate::domain::{Domain, Pair};
use crate::imaging::Plane;
use crate::random::Stream;
use crate::syndiff::{DomainDraws, StepDraws};
use crate::tensors::to_tensor;
use crate::tiles::{Tile, cut};

/// A crop of a plane at a random place, flipped at random along both axes. A plane smaller than the crop is mirrored at
/// its lower and right border.
pub fn random_crop(plane: &Plane, side: usize, stream: &mut Stream) -> Plane {
    let top = stream.below(plane.height().saturating_sub(side) + 1);
    let left = stream.below(plane.width().saturating_sub(side) + 1);
    flipped_crop(plane, [top, left], side, stream)
}

/// The crop at a place, flipped at random along both axes.
fn flipped_crop(plane: &Plane, [top, left]: [usize; 2], side: usize, stream: &mut Stream) -> Plane {
    let crop = cut(plane, &Tile { top, left, height: side, width: side });
    let (flip_rows, flip_columns) = (stream.coin(), stream.coin());
    let place = |flip, i| if flip { side - 1 - i } else { i };
    Plane::from_fn(side, side, |y, x| crop.get(place(flip_rows, y), place(flip_columns, x)))
}

/// The crops and random numbers of every iteration, each a function of (seed, iteration) alone: a run that resumes sees
/// what it would have seen.
#[derive(Debug)]
pub struct Batches<'a> {
    images: &'a Pair<Vec<Plane>>,
    stream: Stream,
    batch: usize,
    crop: usize,
    latent_dim: usize,
    diffusion_steps: usize,
    per_epoch: u64,
    balance: Option<Balance>,
}

impl<'a> Batches<'a> {
    /// Batches of `batch` crops of side `crop` from the images of both domains. An epoch has `per_epoch` iterations;
    /// 0 stands for max(images of either domain)/batch, at least one.
    pub fn new(images: &'a Pair<Vec<Plane>>, seed: u64, batch: usize, crop: usize, per_epoch: u64) -> Self {
        let longest = images.labelled.len().max(images.target.len());
        let per_epoch = if per_epoch == 0 { (longest / batch).max(1) as u64 } else { per_epoch };
        let stream = Stream::new(seed).child("training");
        Self { images, stream, batch, crop, latent_dim: 0, diffusion_steps: 0, per_epoch, balance: None }
    }

    /// The same with the sizes that the draws of an iteration need.
    pub fn with_draws(self, latent_dim: usize, diffusion_steps: usize) -> Self {
        Self { latent_dim, diffusion_steps, ..self }
    }

    /// The same with crops of the emptier domain that are as dense as those of the other.
    pub fn balanced(self) -> Self {
        Self { balance: Some(Balance::of(self.images, self.crop)), ..self }
    }

    /// What balance does to the crops, if they are balanced.
    pub fn note(&self) -> Option<String> {
        self.balance.as_ref().map(Balance::note)
    }

    /// Iterations in an epoch.
    pub fn per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// The crops of one iteration, counted from the start of training. Each domain is shuffled in each epoch; the one
    /// that runs out first is shuffled again and goes on. A domain that is balanced is drawn from by density instead.
    pub fn crops(&self, iteration: u64) -> Pair<Vec<Plane>> {
        Pair::from_fn(|domain| {
            let images = self.images.of(domain);
            let stream = self.stream.child(domain.name());
            let (epoch, place) = (iteration / self.per_epoch, iteration % self.per_epoch);
            (0..self.batch as u64)
                .map(|i| {
                    let mut place_stream = stream.child("crop").child(iteration).child(i);
                    if let Some(balance) = self.balance.as_ref().filter(|balance| balance.domain == domain) {
                        let Corner { image, top, left } = balance.draw(images, self.crop, &mut place_stream);
                        return flipped_crop(&images[image], [top, left], self.crop, &mut place_stream);
                    }
                    let drawn = place * self.batch as u64 + i;
                    let (round, index) = (drawn / images.len() as u64, drawn % images.len() as u64);
                    let order = stream.child("order").child(epoch).child(round).permutation(images.len());
                    random_crop(&images[order[index as usize]], self.crop, &mut place_stream)
                })
                .collect()
        })
    }

    /// The noise, steps and latents of one iteration.
    pub fn draws(&self, iteration: u64) -> Draws {
        let half = |name: &str| {
            Pair::from_fn(|domain: Domain| {
                let stream = self.stream.child(name).child(domain.name()).child(iteration);
                let mut steps = stream.child("steps");
                let noise = ["noise", "next noise", "posterior noise"];
                HalfDraws {
                    t: (0..self.batch).map(|_| steps.below(self.diffusion_steps)).collect(),
                    noise: noise.map(|name| stream.child(name).normals(self.batch * self.crop * self.crop)),
                    latent: stream.child("latent").normals(self.batch * self.latent_dim),
                }
            })
        };
        Draws { discriminators: half("discriminators"), generators: half("generators"), crop: self.crop }
    }

    /// Crops and draws of one iteration.
    pub fn iteration(&self, iteration: u64) -> Iteration {
        Iteration { crops: self.crops(iteration), draws: self.draws(iteration) }
    }
}

/// What an iteration works on, in the computer's own memory.
#[derive(Debug)]
pub struct Iteration {
    crops: Pair<Vec<Plane>>,
    draws: Draws,
}

impl Iteration {
    /// On a device: the crops, `[batch, 1, crop, crop]` in [-1, 1], and the draws.
    pub fn on(self, device: &Device) -> (Pair<Tensor<4>>, StepDraws) {
        (self.crops.map(|crops| to_tensor(crops, device)), self.draws.on(device))
    }
}

/// The random numbers of one iteration, in the computer's own memory.
#[derive(Debug, PartialEq)]
pub struct Draws {
    discriminators: Pair<HalfDraws>,
    generators: Pair<HalfDraws>,
    crop: usize,
}

/// The random numbers that one domain needs in one half of an iteration.
#[derive(Debug, PartialEq)]
struct HalfDraws {
    t: Vec<usize>,
    /// In x_t, from there to x_{t+1}, and of the posterior sample.
    noise: [Vec<f32>; 3],
    latent: Vec<f32>,
}

impl Draws {
    /// On a device.
    pub fn on(self, device: &Device) -> StepDraws {
        let side = self.crop;
        let half = |half: HalfDraws| {
            let batch = half.t.len();
            let image = |values: Vec<f32>| {
                Tensor::from_data(TensorData::new(values, [batch, 1, side, side]), (device, DType::F32))
            };
            let latent_dim = half.latent.len() / batch;
            let latent = TensorData::new(half.latent, [batch, latent_dim]);
            let [noise, next_noise, posterior_noise] = half.noise.map(image);
            let latent = Tensor::from_data(latent, (device, DType::F32));
            DomainDraws { t: half.t, noise, next_noise, posterior_noise, latent }
        };
        let halves = |Pair { labelled, target }| Pair { labelled: half(labelled), target: half(target) };
        StepDraws { discriminators: halves(self.discriminators), generators: halves(self.generators) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(side: usize) -> Plane {
        Plane::from_fn(side, side, |y, x| (y * side + x) as f32 / (side * side) as f32)
    }

    #[test]
    fn every_image_is_seen_before_one_is_seen_again() {
        let flat = |n: usize| (0..n).map(|i| Plane::from_fn(16, 16, |_, _| i as f32 / 10.0)).collect();
        let images = Pair { labelled: flat(3), target: flat(7) };
        let batches = Batches::new(&images, 1, 1, 16, 0);
        assert_eq!(batches.per_epoch(), 7);
        let seen = |domain: Domain, iterations: std::ops::Range<u64>| {
            let mut seen: Vec<i32> =
                iterations.map(|i| (batches.crops(i).of(domain)[0].get(0, 0) * 10.0).round() as i32).collect();
            seen.sort_unstable();
            seen
        };
        assert_eq!(seen(Domain::Target, 0..7), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(seen(Domain::Target, 7..14), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(seen(Domain::Labelled, 0..6), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn balance_changes_the_crops_of_the_emptier_domain_alone() {
        let striped = |share: usize| Plane::from_fn(32, 64, |_, x| if x < share { ((x / 3) % 2) as f32 } else { 0.5 });
        let images = Pair { labelled: vec![striped(12)], target: vec![striped(64)] };
        let [plain, balanced] = [false, true].map(|balances| {
            let batches = Batches::new(&images, 4, 4, 16, 10);
            if balances { batches.balanced() } else { batches }
        });
        let crops = |batches: &Batches<'_>, i| batches.crops(i);
        assert_eq!(crops(&plain, 3).target, crops(&balanced, 3).target);
        assert_ne!(crops(&plain, 3).labelled, crops(&balanced, 3).labelled);
        assert_eq!(crops(&balanced, 3).labelled, crops(&balanced, 3).labelled);
        assert!(plain.note().is_none() && balanced.note().is_some());
    }

    #[test]
    fn an_iteration_draws_the_same_numbers_whenever_it_is_asked_for() {
        let images = Pair { labelled: vec![ramp(40)], target: vec![ramp(20)] };
        let batches = Batches::new(&images, 9, 2, 32, 5).with_draws(6, 4);
        let crop = |i| batches.crops(i).target;
        assert_eq!(crop(3), crop(3));
        assert_ne!(crop(3), crop(4));
        assert_eq!(batches.draws(3), batches.draws(3));
        assert_ne!(batches.draws(3), batches.draws(4));
        assert_ne!(batches.draws(3).generators, batches.draws(3).discriminators);
    }
}
