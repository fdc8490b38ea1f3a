//! `synlabel devices`

use std::process::ExitCode;

use anyhow::Result;
use synlabel::device;
use synlabel::table::Table;

/// How many of a kind are looked for.
const MOST: usize = 16;

pub fn run() -> Result<ExitCode> {
    let mut table = Table::new(["--device", "answers", ""]);
    for kind in device::kinds() {
        let first = device::works(kind.name);
        table.row([kind.name, if first { "yes" } else { "no" }, kind.description]);
        if first && kind.name == "cuda" {
            let further = (1..MOST).map(|i| format!("{}:{i}", kind.name)).take_while(|name| device::works(name));
            for name in further {
                table.row([name.as_str(), "yes", kind.description]);
            }
        }
    }
    println!("{table}");
    println!("\n`--device auto` takes the first that answers.");
    Ok(ExitCode::SUCCESS)
}
