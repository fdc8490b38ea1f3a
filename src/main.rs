//! The command line.

use std::process::ExitCode;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the terminal is where the commands speak")]
mod cli;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
