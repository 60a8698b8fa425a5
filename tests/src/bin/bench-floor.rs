//! The floor of an ADD as a process: see `tenon_tests::floor`. `scripts/bench` measures it.
//!
//! `bench-floor NETNS BRIDGE-INDEX INDEX ADDRESS PREFIX GATEWAY`, with nothing checked that need not be.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use tenon_tests::floor::{Attachment, attach};

fn main() -> ExitCode {
    match run() {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("bench-floor: attach a container: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("usage: bench-floor NETNS BRIDGE-INDEX INDEX ADDRESS PREFIX GATEWAY");
            ExitCode::from(2)
        }
    }
}

/// None when the arguments are wrong.
fn run() -> Option<std::io::Result<()>> {
    let mut words = std::env::args_os().skip(1);
    let netns = PathBuf::from(words.next()?);
    let mut words = words.map_while(|word| word.into_string().ok());
    Some(attach(&Attachment {
        netns: &netns,
        bridge: parse(words.next())?,
        index: parse(words.next())?,
        address: parse(words.next())?,
        prefix: parse(words.next())?,
        gateway: parse(words.next())?,
    }))
}

fn parse<T: FromStr>(word: Option<String>) -> Option<T> {
    word?.parse().ok()
}
