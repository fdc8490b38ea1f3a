//! The command line.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the terminal is where the commands speak")]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
