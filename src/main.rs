//! The command line.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the terminal is where the commands speak")]

mod cli;

use std::process::ExitCode;

#[global_allocator]
static MEMORY: synlabel_kernels::Allocator = synlabel_kernels::Allocator;

fn main() -> ExitCode {
    synlabel_kernels::keep_freed_memory();
    #[cfg(any(feature = "cuda", feature = "vulkan", feature = "wgpu", feature = "metal", feature = "rocm"))]
    make_the_processor_the_default();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Burn reads the state of an optimiser to its default device, whichever it moves it to later. With a graphics feature
/// that would be a card, and a panic where there is none.
#[cfg(any(feature = "cuda", feature = "vulkan", feature = "wgpu", feature = "metal", feature = "rocm"))]
fn make_the_processor_the_default() {
    // SAFETY: nothing else runs yet that could read the environment at the same time.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}
