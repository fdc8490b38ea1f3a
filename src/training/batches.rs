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
    pub fn crops(&self, iteration: u64, device: &Device) -> Pair<Tensor<4>> {
        Pair::from_fn(|domain| {
            let images = self.images.of(domain);
            let stream = self.stream.child(domain.name());
            let (epoch, place) = (iteration / self.per_epoch, iteration % self.per_epoch);
            let crops: Vec<Plane> = (0..self.batch as u64)
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
                .collect();
            to_tensor(&crops, device)
        })
    }

    /// The noise, steps and latents of one iteration.
    pub fn draws(&self, iteration: u64, device: &Device) -> StepDraws {
        let half = |name: &str| {
            Pair::from_fn(|domain: Domain| {
                let stream = self.stream.child(name).child(domain.name()).child(iteration);
                let noise = |name: &str| {
                    let values = stream.child(name).normals(self.batch * self.crop * self.crop);
                    Tensor::from_data(
                        TensorData::new(values, [self.batch, 1, self.crop, self.crop]),
                        (device, DType::F32),
                    )
                };
                let latent = stream.child("latent").normals(self.batch * self.latent_dim);
                let mut steps = stream.child("steps");
                DomainDraws {
                    t: (0..self.batch).map(|_| steps.below(self.diffusion_steps)).collect(),
                    noise: noise("noise"),
                    next_noise: noise("next noise"),
                    posterior_noise: noise("posterior noise"),
                    latent: Tensor::from_data(
                        TensorData::new(latent, [self.batch, self.latent_dim]),
                        (device, DType::F32),
                    ),
                }
            })
        };
        StepDraws { discriminators: half("discriminators"), generators: half("generators") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::to_planes;

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
            let mut seen: Vec<i32> = iterations
                .map(|i| {
                    let crop = to_planes(batches.crops(i, &Device::flex()).of(domain).clone());
                    (crop[0].get(0, 0) * 10.0).round() as i32
                })
                .collect();
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
        let device = Device::flex();
        let [plain, balanced] = [false, true].map(|balances| {
            let batches = Batches::new(&images, 4, 4, 16, 10);
            if balances { batches.balanced() } else { batches }
        });
        let crops = |batches: &Batches<'_>, i| batches.crops(i, &device).map(|crops| crops.clone().into_data());
        assert_eq!(crops(&plain, 3).target, crops(&balanced, 3).target);
        assert_ne!(crops(&plain, 3).labelled, crops(&balanced, 3).labelled);
        assert_eq!(crops(&balanced, 3).labelled, crops(&balanced, 3).labelled);
        assert!(plain.note().is_none() && balanced.note().is_some());
    }

    #[test]
    fn an_iteration_draws_the_same_numbers_whenever_it_is_asked_for() {
        let images = Pair { labelled: vec![ramp(40)], target: vec![ramp(20)] };
        let batches = Batches::new(&images, 9, 2, 32, 5).with_draws(6, 4);
        let device = Device::flex();
        let crop = |i| batches.crops(i, &device).target.into_data();
        assert_eq!(crop(3), crop(3));
        assert_ne!(crop(3), crop(4));
        let noise = |i| batches.draws(i, &device).generators.labelled.noise.into_data();
        assert_eq!(noise(3), noise(3));
        assert_ne!(noise(3), batches.draws(3, &device).discriminators.labelled.noise.into_data());
    }
}
