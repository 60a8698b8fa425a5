//! `cnitool`: adds, checks and removes interfaces by CNI configurations, from the command line.

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::main()
}
