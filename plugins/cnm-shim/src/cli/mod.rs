//! `cnm-shim` as a command for people: shows what is remembered, and mends it, without any config.

mod collect;
mod context;
mod inspect;
mod inventory;
mod listing;
mod ping;
mod remove;
mod report;
mod table;
mod words;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::context::Context;
use self::report::Report;
use crate::config::DATA_DIR;

const EXAMPLES: &str = "\
Called by a container runtime, with CNI_COMMAND in its environment, it is a CNI plugin.

Examples:
  cnm-shim ping                       who answers, how fast, and what they can do
  cnm-shim ping weave                 one driver, by its name or its address
  cnm-shim endpoints                  which container is on which network
  cnm-shim inspect 4f2a               all that is remembered of one thing
  cnm-shim gc --dry-run               what a collection of garbage would remove
  cnm-shim rm endpoint 4f2a --force   forget an endpoint whose driver is gone for good

Exit codes: 0 done, 1 not done or not all of it, 2 a wrong command line.";

/// Shows and mends what is remembered of CNM networks and of their endpoints.
#[derive(Debug, Parser)]
#[command(name = "cnm-shim", after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Where records are, the `dataDir` of configurations
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Print JSON, also for an error (on standard output)
    #[arg(long, global = true)]
    json: bool,
    /// Seconds that drivers may take, all together
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List networks
    Networks,
    /// List endpoints: which container is on which network
    Endpoints {
        /// Only those of this network, by its name or the beginning of its id
        network: Option<String>,
    },
    /// List containers' namespaces with the endpoints in them
    Sandboxes,
    /// List what could not be removed so far
    Garbage,
    /// Print what is remembered of a network, an endpoint or a container, as JSON
    Inspect {
        /// A name, an id, or the beginning of an id
        #[arg(value_name = "ID|NAME")]
        what: String,
    },
    /// Remove endpoints whose namespace is gone and half-done networks, and try again to remove what
    /// could not be removed
    Gc {
        /// Tell what would be removed, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Remove one thing
    #[command(subcommand)]
    Rm(Rm),
    /// Ask drivers whether they answer, and what they can do
    Ping {
        /// A driver's name, or its address as in `driverURL`; without it all that can be found
        #[arg(value_name = "DRIVER|URL")]
        driver: Option<String>,
        /// Ask Docker Engine instead, at `DOCKER_HOST` or /var/run/docker.sock
        #[arg(long, conflicts_with = "driver")]
        docker: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Rm {
    /// A network that has no endpoints
    Network {
        /// Its name, or the beginning of its id
        #[arg(value_name = "NAME|ID")]
        network: String,
        /// Forget it without asking its driver
        #[arg(long)]
        force: bool,
    },
    /// An endpoint, whether its container is still there or not
    Endpoint(EndpointArgs),
    /// What is left of an endpoint
    Garbage {
        /// The beginning of the endpoint's id
        id: String,
        /// Forget it without asking its driver
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct EndpointArgs {
    /// The beginning of its id
    id: String,
    /// Forget it without asking its driver, or Docker
    #[arg(long)]
    force: bool,
    /// Do not ask, even if its container is still there
    #[arg(short, long)]
    yes: bool,
}

/// Whether a person calls, and not a runtime: with arguments, but not just for the version, which all
/// plugins tell in the same way.
pub(crate) fn is_meant() -> bool {
    let runtime = std::env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty());
    let argument = std::env::args_os().nth(1);
    !runtime && argument.is_some_and(|argument| argument != "--version" && argument != "-V")
}

/// Runs the command line and says how it went: 0, 1 with the reason on standard error, or 2.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Nobody left to tell.
            let _unheard = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let as_json = cli.options.json;
    let written = match run(&cli) {
        Ok(report) => print(&report, as_json).map(|()| {
            if report.failures.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }),
        Err(error) => print_error(&error, as_json).map(|()| ExitCode::FAILURE),
    };
    // A reader that went away is no reason to be loud, but the caller must not take it for success.
    written.unwrap_or(ExitCode::FAILURE)
}

fn run(cli: &Cli) -> anyhow::Result<Report> {
    let context = Context::new(&cli.options);
    match &cli.verb {
        Verb::Networks => listing::networks(&context),
        Verb::Endpoints { network } => listing::endpoints(&context, network.as_deref()),
        Verb::Sandboxes => listing::sandboxes(&context),
        Verb::Garbage => listing::garbage(&context),
        Verb::Inspect { what } => inspect::run(&context, what),
        Verb::Gc { dry_run: true, .. } => collect::dry_run(&context),
        Verb::Gc { yes, .. } => collect::run(&context, *yes),
        Verb::Rm(Rm::Network { network, force }) => remove::network(&context, network, *force),
        Verb::Rm(Rm::Endpoint(args)) => remove::endpoint(&context, args),
        Verb::Rm(Rm::Garbage { id, force }) => remove::garbage(&context, id, *force),
        Verb::Ping { driver, docker } => ping::run(&context, driver.as_deref(), *docker),
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
    stdout.flush()?;
    let mut stderr = io::stderr().lock();
    let mut failures = report.failures.iter();
    failures.try_for_each(|failure| writeln!(stderr, "cnm-shim: {failure}"))
}

fn print_error(error: &anyhow::Error, as_json: bool) -> io::Result<()> {
    if as_json {
        io::stdout().write_all(report::error_document(error).as_bytes())
    } else {
        writeln!(io::stderr(), "cnm-shim: {error:#}")
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["cnm-shim"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        for line in ["--json networks", "networks --json", "rm network n --json"] {
            let options = parse(line).unwrap().options;
            assert!(options.json, "{line}");
            assert_eq!(options.data_dir, PathBuf::from("/var/lib/cni/cnm-shim"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_wrong_command_line() {
        for line in [
            "",
            "net",
            "inspect",
            "rm",
            "rm endpoint",
            "rm sandbox x",
            "--timeout 0 gc",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
