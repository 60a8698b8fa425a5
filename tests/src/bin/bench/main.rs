//! Compares our plugins with the reference's: the same work in private namespaces, in pairs of runs
//! that alternate in one sitting. `scripts/bench` builds what it needs and runs it.

mod case;
mod copies;
mod docker;
mod join;
mod machine;
mod ports;
mod report;
mod run;
mod side;
mod sitting;
mod stats;
mod trace;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use cni_testkit::{Suite, World};

use crate::case::{CASES, Case, Work};
use crate::machine::Machine;
use crate::report::Report;
use crate::sitting::{Figures, Sitting};

const PAGE: &str = "docs/benchmarks.md";

/// How many other processes may run on average; the kernel's own threads do at times.
const QUIET: f64 = 0.3;

/// Measures Tenon's plugins against the reference's, in pairs of runs that alternate.
///
/// Figures of a busy machine are worth little: run nothing else. Needs root, for namespaces of its
/// own. The plugins are those of `TENON_BIN_DIR` and of `TENON_REFERENCE_DIR` (/usr/lib/cni).
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Settings {
    /// Which cases to run; all unless told
    #[arg(value_name = "CASE", value_parser = case_names())]
    cases: Vec<String>,
    /// How many pairs of runs to take of each operation
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pairs: u16,
    /// Writes docs/benchmarks.md too; then all cases run
    #[arg(long, conflicts_with_all = ["cases", "against"])]
    write: bool,
    /// Compares with another build of ours, in the reference's place: before a change, and after
    #[arg(long, value_name = "BIN_DIR")]
    against: Option<PathBuf>,
    /// Below which directory leases are kept, on a file system as /var/lib/cni has it
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    data_dir: PathBuf,
}

impl Settings {
    /// What ours are compared with.
    fn reference(&self) -> Result<Suite> {
        let Some(dir) = &self.against else {
            return Ok(Suite::reference());
        };
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find the plugins in {}", dir.display()))?;
        Ok(Suite::of("before", &dir))
    }

    /// Docker is no build of ours.
    fn wants(&self, case: &Case) -> bool {
        let named = self.cases.is_empty() || self.cases.iter().any(|name| name == case.name);
        let possible = self.against.is_none() || !matches!(case.work, Work::Join);
        named && possible
    }
}

fn case_names() -> clap::builder::PossibleValuesParser {
    let named = |case: &Case| clap::builder::PossibleValue::new(case.name).help(case.help());
    CASES.iter().map(named).collect::<Vec<_>>().into()
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    // Leaving a world resets the working directory, as setns(2) does.
    let page = std::path::absolute(PAGE)?;
    let report = measure(&settings)?;
    std::io::stdout().write_all(report.tables().as_bytes())?;
    if report.others() > QUIET {
        progress(&format!(
            "{:.1} other processes were running on average: do not trust the figures",
            report.others()
        ));
    }
    if settings.write {
        fs::write(&page, report.page()).with_context(|| format!("write {PAGE}"))?;
        progress(&format!("written: {PAGE}"));
    }
    Ok(())
}

fn measure(settings: &Settings) -> Result<Report> {
    let (reference, ours) = (settings.reference()?, Suite::ours());
    let leases = tempfile::Builder::new()
        .prefix("tenon-bench-")
        .tempdir_in(&settings.data_dir)
        .with_context(|| format!("make a directory in {}", settings.data_dir.display()))?;
    let machine = Machine::observe(reference.bin_dir(), leases.path())?;
    let world = World::new();
    let sitting = Sitting {
        world: &world,
        suites: [&reference, &ours],
        leases: leases.path(),
        pairs: usize::from(settings.pairs),
    };
    let mut figures = Figures::default();
    let mut docker = None;
    for case in CASES.iter().filter(|case| settings.wants(case)) {
        let in_case = || format!("case {}", case.name);
        if let Work::Join = case.work {
            docker = Some(join::take(&sitting).with_context(in_case)?);
            continue;
        }
        let found = sitting.take(case).with_context(in_case)?;
        figures.rows.extend(found.rows);
        figures.connections.extend(found.connections);
    }
    Ok(Report {
        compared: match settings.against {
            Some(_) => ["before", "now"],
            None => ["reference", "Tenon"],
        },
        docker,
        machine,
        sizes: machine::sizes(reference.bin_dir(), ours.bin_dir())?,
        figures,
        pairs: settings.pairs,
    })
}

/// A line for whoever waits.
fn progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
    }

    #[test]
    fn the_page_has_all_cases_or_is_not_written() {
        assert!(Settings::try_parse_from(["bench", "--write", "ipmasq"]).is_err());
        assert!(Settings::try_parse_from(["bench", "--pairs", "0"]).is_err());
        assert!(Settings::try_parse_from(["bench", "no-such-case"]).is_err());
        let some = Settings::try_parse_from(["bench", "ipmasq", "--pairs", "3"]).unwrap();
        assert_eq!((some.cases, some.pairs), (vec!["ipmasq".to_owned()], 3));
    }

    #[test]
    fn another_build_is_never_the_pages_reference_nor_docker() {
        assert!(Settings::try_parse_from(["bench", "--write", "--against", "/bin"]).is_err());
        let against = Settings::try_parse_from(["bench", "--against", "/bin"]).unwrap();
        assert_eq!(against.reference().unwrap().name(), "before");
        let names = |settings: &Settings| {
            let wanted = CASES.iter().filter(|case| settings.wants(case));
            wanted.map(|case| case.name).collect::<Vec<_>>()
        };
        assert!(names(&against).contains(&"bridge"));
        assert!(!names(&against).contains(&"cnm"));
        let one = Settings::try_parse_from(["bench", "cnm"]).unwrap();
        assert_eq!(names(&one), ["cnm"]);
    }
}
