//! Diffusion in few, large steps (DDGAN, Xiao et al., arXiv 2112.07804): schedule, forward process, posterior and the
//! reverse walk. Method §2.
//!
//! Steps are numbered t = 0..T; x_t is the image after t + 1 noisings of
//! the table β_0..β_T, so even x_0's neighbour "x at t = 0" carries the tiny noise of β_0.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::constant;

/// How the variance of the noise grows with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VarianceGrowth {
    /// var(t) = 1 − exp(2m), m = −t²/4·(β_max − β_min) − t/2·β_min.
    #[default]
    VariancePreserving,
    /// var(t) = β_min·(β_max/β_min)^t; needs β_max < 1.
    Geometric,
}

/// The noise schedule's numbers. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// T, the number of steps.
    pub steps: usize,
    /// The growth of the variance.
    pub growth: VarianceGrowth,
    /// Noise rate at t = 0 (geometric: variance at t = 0).
    pub beta_min: f64,
    /// Noise rate at t = 1 (geometric: variance at t = 1).
    pub beta_max: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { steps: 4, growth: VarianceGrowth::VariancePreserving, beta_min: 0.1, beta_max: 20.0 }
    }
}

/// Start of the time grid: at exactly 0 there would be no noise and the ratio of variances no meaning.
const FIRST_TIME: f64 = 1e-3;
/// β_0.
const FIRST_BETA: f64 = 1e-8;
/// Where the logarithm of the posterior's variance is clipped.
const SMALLEST_VARIANCE: f32 = 1e-20;

impl ScheduleConfig {
    fn variance(&self, t: f64) -> f64 {
        match self.growth {
            VarianceGrowth::VariancePreserving => {
                let m = -t * t / 4.0 * (self.beta_max - self.beta_min) - t / 2.0 * self.beta_min;
                1.0 - (2.0 * m).exp()
            }
            VarianceGrowth::Geometric => self.beta_min * (self.beta_max / self.beta_min).powf(t),
        }
    }

    /// The tables of this schedule.
    pub fn init(&self) -> Result<Schedule> {
        let grows = 0.0 < self.beta_min && self.beta_min < self.beta_max;
        if self.steps == 0 || !grows {
            return Err(Error::Config("the schedule needs at least one step and 0 < beta_min < beta_max".into()));
        }
        if self.growth == VarianceGrowth::Geometric && self.beta_max >= 1.0 {
            return Err(Error::Config(format!(
                "the geometric schedule's beta_max is the last variance and must be below 1, not {}",
                self.beta_max
            )));
        }
        let steps = self.steps as f64;
        let alpha_bars: Vec<f64> =
            (0..=self.steps).map(|i| 1.0 - self.variance(i as f64 / steps * (1.0 - FIRST_TIME) + FIRST_TIME)).collect();
        let betas: Vec<f64> =
            std::iter::once(FIRST_BETA).chain(alpha_bars.windows(2).map(|pair| 1.0 - pair[1] / pair[0])).collect();
        Ok(Schedule::from_betas(&betas))
    }
}

/// The tables of a noise schedule, each indexed by the step t.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// A_t, t = 0..T: how much of x_0 is in x_t.
    signal: Vec<f32>,
    /// S_t = √(1 − A_t²), t = 0..T.
    noise: Vec<f32>,
    /// a_{t+1} and σ_{t+1}, t = 0..T−1: one noising.
    next_signal: Vec<f32>,
    next_noise: Vec<f32>,
    /// The posterior q(x_t | x_0, x_{t+1}), t = 0..T−1: weights of x_0 and x_{t+1}, standard deviation.
    posterior_clean: Vec<f32>,
    posterior_noisy: Vec<f32>,
    posterior_deviation: Vec<f32>,
}

impl Schedule {
    /// The tables from β_0..β_T. From here on all is f32, as in the published code: there √(1 − β_0) is exactly 1 and
    /// S_0 exactly 0, where f64 would give S_0 = 1e-4, and golden numbers show the difference.
    fn from_betas(betas: &[f64]) -> Self {
        let betas: Vec<f32> = betas.iter().map(|&beta| beta as f32).collect();
        let signal: Vec<f32> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= (1.0 - beta).sqrt();
                Some(*product)
            })
            .collect();
        let noise = signal.iter().map(|a| (1.0 - a * a).sqrt()).collect();
        let mut schedule = Self {
            signal,
            noise,
            next_signal: betas[1..].iter().map(|beta| (1.0 - beta).sqrt()).collect(),
            next_noise: betas[1..].iter().map(|beta| beta.sqrt()).collect(),
            posterior_clean: Vec::new(),
            posterior_noisy: Vec::new(),
            posterior_deviation: Vec::new(),
        };
        let mut before = 1.0; // ᾱ' of the step before
        for (t, &beta) in betas[1..].iter().enumerate() {
            let alpha_bar = before * (1.0 - beta);
            let variance = beta * (1.0 - before) / (1.0 - alpha_bar);
            schedule.posterior_clean.push(beta * before.sqrt() / (1.0 - alpha_bar));
            schedule.posterior_noisy.push((1.0 - before) * (1.0 - beta).sqrt() / (1.0 - alpha_bar));
            // At t = 0 the sample is the mean.
            schedule.posterior_deviation.push(if t == 0 { 0.0 } else { variance.max(SMALLEST_VARIANCE).sqrt() });
            before = alpha_bar;
        }
        schedule
    }

    /// T.
    pub fn steps(&self) -> usize {
        self.next_signal.len()
    }

    /// A sample of (x_t, x_{t+1}) given x_0: x_t = A_t x_0 + S_t n, x_{t+1} = a_{t+1} x_t + σ_{t+1} n'.
    ///
    /// # Shapes
    /// - clean, noise, next_noise, outputs: `[batch, 1, height, width]`
    /// - t: one step in 0..T for each sample
    pub fn pair(
        &self,
        clean: Tensor<4>,
        t: &[usize],
        noise: Tensor<4>,
        next_noise: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let at = |table: &[f32]| per_sample(table, t, &noise);
        let x_t = clean * at(&self.signal) + noise.clone() * at(&self.noise);
        let x_next = x_t.clone() * at(&self.next_signal) + next_noise * at(&self.next_noise);
        (x_t, x_next)
    }

    /// A sample of the posterior q(x_t | x_0, x_{t+1}).
    ///
    /// # Shapes
    /// As [`pair`](Self::pair).
    pub fn posterior(&self, clean: Tensor<4>, noisy: Tensor<4>, t: &[usize], noise: Tensor<4>) -> Tensor<4> {
        let at = |table: &[f32]| per_sample(table, t, &noise);
        clean * at(&self.posterior_clean)
            + noisy * at(&self.posterior_noisy)
            + noise.clone() * at(&self.posterior_deviation)
    }

    /// The reverse walk from pure noise: for t = T−1..0, estimate x_0 and sample the posterior.
    ///
    /// `noise(t)` is the noise added after step t, `noise(T)` the start; `estimate(x, t)` is the denoiser.
    ///
    /// # Shapes
    /// - all tensors: `[batch, 1, height, width]`
    pub fn walk_back(
        &self,
        noise: impl Fn(usize) -> Tensor<4>,
        mut estimate: impl FnMut(Tensor<4>, usize) -> Tensor<4>,
    ) -> Tensor<4> {
        let mut x = noise(self.steps());
        let batch = x.dims()[0];
        for t in (0..self.steps()).rev() {
            let clean = estimate(x.clone(), t);
            x = match t {
                0 => self.posterior(clean, x.clone(), &vec![t; batch], x.zeros_like()),
                _ => self.posterior(clean, x, &vec![t; batch], noise(t)),
            };
        }
        x
    }
}

fn per_sample(table: &[f32], t: &[usize], like: &Tensor<4>) -> Tensor<4> {
    constant(t.iter().map(|&t| table[t]).collect(), [t.len(), 1, 1, 1], like)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use burn::tensor::{Device, TensorData};

    fn both() -> [Schedule; 2] {
        let geometric = ScheduleConfig { growth: VarianceGrowth::Geometric, beta_min: 0.01, beta_max: 0.99, steps: 4 };
        [ScheduleConfig::default().init().unwrap(), geometric.init().unwrap()]
    }

    fn close(a: f32, b: f64) {
        assert!((a as f64 - b).abs() < 2e-5, "{a} is not {b}");
    }

    #[test]
    fn the_published_schedule_in_numbers() {
        let schedule = ScheduleConfig::default().init().unwrap();
        // By hand: ᾱ(t) = exp(−t²/2·19.9 − 0.1·t) at t = 0.001 and t = 0.25075.
        let alpha_bar = |t: f64| (-t * t / 2.0 * 19.9 - 0.1 * t).exp();
        let beta_1 = 1.0 - alpha_bar(0.25075) / alpha_bar(0.001);
        close(schedule.next_noise[0], beta_1.sqrt());
        close(schedule.signal[0], 1.0);
        assert_eq!(schedule.noise[0], 0.0);
        close(schedule.signal[1], ((1.0 - 1e-8) * (1.0 - beta_1)).sqrt());
        // After all steps hardly anything of the image is left.
        assert!(schedule.signal[4] < 0.01, "{}", schedule.signal[4]);
    }

    #[test]
    fn the_posterior_is_the_gaussian_of_bayes_rule() {
        for schedule in both() {
            let mut alpha_bar = 1.0 - (schedule.next_noise[0] as f64).powi(2);
            for t in 1..schedule.steps() {
                // Prior N(√ᾱ x0, 1 − ᾱ) times likelihood N(a x_t, σ²): precisions add.
                let (a, sigma) = (schedule.next_signal[t] as f64, schedule.next_noise[t] as f64);
                let precision = 1.0 / (1.0 - alpha_bar) + a * a / (sigma * sigma);
                close(schedule.posterior_deviation[t], precision.recip().sqrt());
                close(schedule.posterior_clean[t], alpha_bar.sqrt() / (1.0 - alpha_bar) / precision);
                close(schedule.posterior_noisy[t], a / (sigma * sigma) / precision);
                alpha_bar *= a * a;
            }
        }
    }

    #[test]
    fn the_last_step_returns_the_estimate_without_noise() {
        for schedule in both() {
            close(schedule.posterior_clean[0], 1.0);
            close(schedule.posterior_noisy[0], 0.0);
            close(schedule.posterior_deviation[0], 0.0);
            let device = Device::flex();
            let estimate = Tensor::<4>::full([1, 1, 2, 2], 0.25, &device);
            let walked = schedule.walk_back(|_| estimate.ones_like() * 3.0, |_, _| estimate.clone());
            walked.into_data().assert_approx_eq::<f32>(&estimate.into_data(), Default::default());
        }
    }

    #[test]
    fn noised_images_have_the_variance_of_the_table() {
        let device = Device::flex();
        let mut stream = Stream::new(5);
        let mut noise = || Tensor::<4>::from_data(TensorData::new(stream.normals(64 * 64), [1, 1, 64, 64]), &device);
        for schedule in both() {
            for t in 0..schedule.steps() {
                let clean = Tensor::full([1, 1, 64, 64], 0.5, &device);
                let (x_t, x_next) = schedule.pair(clean, &[t], noise(), noise());
                for (x, step) in [(x_t, t), (x_next, t + 1)] {
                    let deviation = (x - 0.5 * schedule.signal[step]).square().mean().sqrt().into_scalar::<f32>();
                    let expected = schedule.noise[step];
                    assert!((deviation - expected).abs() <= 0.05 * expected, "{deviation} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_schedule_without_sense_is_refused() {
        let refused = |config: ScheduleConfig| config.init().unwrap_err().to_string();
        assert!(refused(ScheduleConfig { steps: 0, ..Default::default() }).contains("at least one step"));
        let geometric = ScheduleConfig { growth: VarianceGrowth::Geometric, ..Default::default() };
        assert!(refused(geometric).contains("below 1"));
    }
}
