//! Operations of the networks that are faster here than Burn's, each with its gradients.
//!
//! Each operation is a function of tensors. On 32-bit floats on a processor with vectors it runs our own kernel, and some
//! do on graphics cards (feature `card`); for every other device, number format and processor it is made of Burn's own
//! operations. Results do not depend on the number of threads.
//!
//! `unsafe` stands in this crate only.

mod adam;
mod attention;
mod averaging;
mod bridge;
#[cfg(feature = "card")]
mod card;
mod conv;
mod convolution;
mod curve;
mod elementwise;
mod geometry;
mod memory;
mod norm;
mod normalisation;
mod phases;
mod pixels;
mod products;
mod resizing;
mod sgd;
mod sharing;
mod simd;
mod spots;
mod stencil;
mod team;
#[cfg(test)]
mod tests;
mod weights;
mod window;
mod winograd;

pub use adam::{adam, averaged_adam};
pub use attention::attend;
pub use averaging::Averaging;
pub use convolution::{Products, Residual, convolve, convolve_residual, convolve_transposed, map_channels};
pub use curve::Activation;
pub use elementwise::{activate, add_scaled, sum_of_squares};
pub use geometry::Border;
pub use memory::{Allocator, keep_freed_memory};
pub use normalisation::{Norm, normalise};
pub use resizing::{resize, resize_activated};
pub use sgd::nesterov;
pub use stencil::Resize;
pub use team::both;
