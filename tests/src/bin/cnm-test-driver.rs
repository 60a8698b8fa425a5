//! The tests' CNM remote driver as a program of its own, for demonstrations and for people: it
//! connects containers of whatever controller asks, and shows every request and reply.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use tenon_tests::cnm::driver::{Driver, PLUGIN_DIR};

/// Serves as network driver and IPAM driver until it is interrupted, and then removes the links it made.
///
/// Bridges and veth pairs are made in the network namespace it runs in. Every request and its reply
/// are one line on standard error.
#[derive(Debug, Parser)]
#[command(name = "cnm-test-driver", version)]
struct Settings {
    /// The socket to listen on, wherever plugins are looked for
    #[arg(conflicts_with_all = ["plugin_dir", "name"])]
    socket: Option<PathBuf>,
    /// The directory for the socket of the driver's name
    #[arg(long, value_name = "DIR", default_value = PLUGIN_DIR)]
    plugin_dir: PathBuf,
    /// The driver's name
    #[arg(long, default_value = "tenon-test")]
    name: String,
    /// The driver's Scope
    #[arg(long, default_value = "local", value_parser = ["local", "global"])]
    scope: String,
    /// Does not show requests
    #[arg(long)]
    quiet: bool,
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGINT);
    ends.add(Signal::SIGTERM);
    // The driver's threads inherit the mask: only `wait` below gets these signals.
    ends.thread_block().context("block signals")?;
    let mut driver = Driver::named(&settings.name)
        .plugin_dir(&settings.plugin_dir)
        .capabilities(|can| can.scope.clone_from(&settings.scope));
    if let Some(socket) = &settings.socket {
        driver = driver.socket(socket);
    }
    if !settings.quiet {
        driver = driver.talkative();
    }
    let driver = driver.start();
    eprintln!("listening at {}", driver.url());
    ends.wait().context("wait for a signal")?;
    drop(driver);
    Ok(())
}
