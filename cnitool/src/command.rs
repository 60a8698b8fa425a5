//! The command line.

mod attachment;
mod machine;
mod network;
mod report;
mod settings;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::Report;
use settings::Settings;

const EXAMPLES: &str = "\
Environment:
  NETCONFPATH  directory of network configurations (default: /etc/cni/net.d)
  CNI_PATH     directories of plugins, separated by colons (default: /opt/cni/bin:/usr/lib/cni)
  CNI_IFNAME   interface name inside the container (default: eth0)
  CNI_ARGS     KEY=VALUE;KEY=VALUE, passed to the plugins
  CAP_ARGS     capability arguments as a JSON object

Examples:
  cnitool up c1                       make namespace c1, join it to the first network
  ip netns exec c1 ping 10.88.0.1     use it
  cnitool down c1                     leave the network, remove the namespace

  ip netns add c2
  cnitool add pods /run/netns/c2      prints the result as JSON
  cnitool check pods /run/netns/c2
  cnitool del pods /run/netns/c2

  CAP_ARGS='{\"portMappings\": [{\"hostPort\": 8080, \"containerPort\": 80, \"protocol\": \"tcp\"}]}' \\
    cnitool up web pods
  cnitool gc pods --dry-run           what belongs to no namespace any more
  cnitool version pods                do the plugins speak the network's version?";

/// What `--version` tells, with the name of the suite.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Tenon)");

/// Adds, checks and removes network interfaces by CNI configurations.
#[derive(Debug, Parser)]
#[command(name = "cnitool", version = VERSION, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Name of the interface inside the container, instead of `CNI_IFNAME`
    #[arg(short, long, global = true, value_name = "NAME")]
    ifname: Option<String>,
    /// Print JSON, also for an error (on standard output)
    #[arg(long, global = true)]
    json: bool,
    /// Seconds that each call of a plugin may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    timeout: u32,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Attach a namespace to a network, and print the result as JSON
    Add {
        /// The network's name
        network: String,
        /// Path of the namespace, or its name below /run/netns
        netns: PathBuf,
    },
    /// Compare what is there with the result of the add
    Check {
        /// The network's name
        network: String,
        /// Path of the namespace, or its name below /run/netns
        netns: PathBuf,
    },
    /// Detach a namespace, which may be gone, from a network
    Del {
        /// The network's name
        network: String,
        /// Path of the namespace, or its name below /run/netns
        netns: PathBuf,
    },
    /// Remove attachments whose namespace is gone, and have the plugins clean up
    Gc(GcArgs),
    /// Ask the plugins whether an add would work
    Status {
        /// The network's name
        network: String,
        /// Not used; the CNI project's cnitool wants one
        #[arg(hide = true)]
        netns: Option<PathBuf>,
    },
    /// Ask the plugins for their protocol versions
    Version {
        /// The network's name
        network: String,
    },
    /// Make a named namespace and attach it to a network
    Up {
        /// The namespace's name, below /run/netns
        name: String,
        /// The network's name; without one, that of the first file in the directory
        network: Option<String>,
    },
    /// Detach a named namespace from its networks, and remove it
    Down {
        /// The namespace's name, below /run/netns
        name: String,
        /// Detach from this network too, even if nothing is known of an add
        network: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct GcArgs {
    /// The network's name
    network: String,
    /// Not used; the CNI project's cnitool wants one
    #[arg(hide = true)]
    netns: Option<PathBuf>,
    /// An attachment that stays, whatever its namespace; may be repeated
    #[arg(long, value_name = "CONTAINERID[/IFNAME]")]
    keep: Vec<String>,
    /// Remove all attachments but those of --keep, also of living namespaces, as the CNI project's
    /// cnitool does
    #[arg(long)]
    all: bool,
    /// Tell what would be removed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command line and says how it went: 0, or 1 with the reason on standard error.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Nobody left to tell.
            let _unheard = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()));
        }
    };
    let as_json = cli.options.json;
    let written = match run(cli) {
        Ok(report) => print(&report, as_json).map(|()| match report.failure {
            None => ExitCode::SUCCESS,
            Some(_) => ExitCode::FAILURE,
        }),
        Err(error) => print_error(&error, as_json).map(|()| ExitCode::FAILURE),
    };
    // A reader that went away is no reason to be loud, but the caller must not take it for success.
    written.unwrap_or(ExitCode::FAILURE)
}

fn run(cli: Cli) -> anyhow::Result<Report> {
    let settings = Settings::new(&cli.options)?;
    match cli.verb {
        Verb::Add { network, netns } => attachment::add(&settings, &network, &netns),
        Verb::Check { network, netns } => attachment::check(&settings, &network, &netns),
        Verb::Del { network, netns } => attachment::del(&settings, &network, &netns),
        Verb::Gc(args) => network::gc(&settings, &args),
        Verb::Status { network, netns: _ } => network::status(&settings, &network),
        Verb::Version { network } => network::version(&settings, &network),
        Verb::Up { name, network } => machine::up(&settings, &name, network.as_deref()),
        Verb::Down { name, network } => machine::down(&settings, &name, network.as_deref()),
    }
}

fn print(report: &Report, as_json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let text = if as_json {
        report.json_text()
    } else {
        report.text.clone()
    };
    stdout.write_all(text.as_bytes())?;
    // The original's add ends without a newline, which only a person at a terminal minds.
    if !text.is_empty() && !text.ends_with('\n') && stdout.is_terminal() {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    match &report.failure {
        // In JSON the report tells it.
        Some(failure) if !as_json => writeln!(io::stderr(), "cnitool: {failure}"),
        _ => Ok(()),
    }
}

fn print_error(error: &anyhow::Error, as_json: bool) -> io::Result<()> {
    if as_json {
        let document = report::error_document(error);
        io::stdout().write_all(document.as_bytes())
    } else {
        writeln!(io::stderr(), "cnitool: {error:#}{}", hint(error))
    }
}

/// What to do where the error itself cannot know.
fn hint(error: &anyhow::Error) -> &'static str {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    if causes.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied) {
        "; it needs to be run as root"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn who_lacks_permission_is_told_what_to_do() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let denied = anyhow::Error::from(denied).context("read directory /x");
        assert_eq!(hint(&denied), "; it needs to be run as root");
        assert_eq!(hint(&anyhow::anyhow!("other")), "");
    }

    #[test]
    fn the_originals_calls_are_understood() {
        for line in [
            "add net /run/netns/x",
            "check net x",
            "del net x -i net1",
            "gc net x",
            "gc net",
            "status net x",
            "status net",
            "--ifname net1 add net x",
        ] {
            let words = ["cnitool"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
