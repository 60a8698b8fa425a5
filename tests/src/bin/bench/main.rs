//! Compares our plugins with the reference's: the same work in private namespaces, in pairs of runs
//! that alternate in one sitting. `scripts/bench` builds what it needs and runs it.

mod attach;
mod case;
mod copies;
mod docker;
mod floor;
mod join;
mod leases;
mod machine;
mod orphans;
mod pairs;
mod placed;
mod plots;
mod ports;
mod publish;
mod report;
mod reserve;
mod rules;
mod run;
mod side;
mod sitting;
mod start;
mod stats;
mod trace;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use cni_testkit::{Suite, World};

use crate::case::{CASES, Case, Work};
use crate::floor::Programs;
use crate::join::Joining;
use crate::machine::Machine;
use crate::report::{README, Report};
use crate::sitting::{Effort, Figures, Sitting};

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
    /// Lists the cases and how many pairs of runs each takes
    #[arg(long)]
    list: bool,
    /// How many pairs of runs to take of each operation, instead of what its case has
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pairs: Option<u16>,
    /// Takes few pairs, to see whether all works
    #[arg(long, conflicts_with = "pairs")]
    quick: bool,
    /// Writes docs/benchmarks.md, its plots and the README's tables too; then all cases run
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

    /// What the tables call both sides.
    fn compared(&self) -> [&'static str; 2] {
        match self.against {
            Some(_) => ["before", "now"],
            None => ["reference", "Tenon"],
        }
    }

    fn wants(&self, case: &Case) -> bool {
        let named = self.cases.is_empty() || self.cases.iter().any(|name| name == case.name);
        named && (self.against.is_none() || case.compares_builds())
    }

    fn effort(&self) -> Effort {
        match self.pairs {
            Some(pairs) => Effort::Exactly(pairs),
            None if self.quick => Effort::Quick,
            None => Effort::Usual,
        }
    }
}

fn case_names() -> clap::builder::PossibleValuesParser {
    let named = |case: &Case| clap::builder::PossibleValue::new(case.name).help(case.help());
    CASES.iter().map(named).collect::<Vec<_>>().into()
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    if settings.list {
        return Ok(std::io::stdout().write_all(list().as_bytes())?);
    }
    // Leaving a world resets the working directory, as setns(2) does.
    let root = std::path::absolute(".")?;
    let report = measure(&settings)?;
    std::io::stdout().write_all(report.tables().as_bytes())?;
    if report.others() > QUIET {
        progress(&format!(
            "{:.1} other processes were running on average: do not trust the figures",
            report.others()
        ));
    }
    if settings.write {
        write(&root, &report)?;
    }
    Ok(())
}

/// Name, pairs and meaning of each case.
fn list() -> String {
    let line = |case: &Case| format!("{:<20}{:>4}  {}\n", case.name, case.pairs, case.help());
    CASES.iter().map(line).collect()
}

/// Writes what is in the repository.
fn write(root: &Path, report: &Report) -> Result<()> {
    let readme = root.join(README);
    let text = fs::read_to_string(&readme).with_context(|| format!("read {README}"))?;
    let plots = root.join(plots::DIRECTORY);
    fs::create_dir_all(&plots).with_context(|| format!("make {}", plots::DIRECTORY))?;
    let mut files = vec![
        (root.join(PAGE), report.page()),
        (readme, report::rewritten(&text, report)?),
    ];
    for (name, plot) in plots::drawn(&report.figures) {
        files.push((plots.join(name), plot));
    }
    for (path, content) in files {
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        progress(&format!("written: {}", path.display()));
    }
    Ok(())
}

fn measure(settings: &Settings) -> Result<Report> {
    let (reference, ours) = (settings.reference()?, Suite::ours());
    let scratch = tempfile::Builder::new()
        .prefix("tenon-bench-")
        .tempdir_in(&settings.data_dir)
        .with_context(|| format!("make a directory in {}", settings.data_dir.display()))?;
    let machine = Machine::observe(reference.bin_dir(), scratch.path())?;
    let copies = [
        copied(&reference, scratch.path())?,
        copied(&ours, scratch.path())?,
    ];
    let programs = match settings.against {
        Some(_) => None,
        None => Some(Programs::prepare(scratch.path())?),
    };
    let world = World::new();
    let sitting = Sitting {
        world: &world,
        suites: copies.each_ref(),
        leases: &scratch.path().join("leases"),
        programs: programs.as_ref(),
        effort: settings.effort(),
    };
    let (figures, docker) = sit(settings, &sitting)?;
    Ok(Report {
        compared: settings.compared(),
        docker,
        machine,
        sizes: machine::sizes(reference.bin_dir(), ours.bin_dir())?,
        figures,
    })
}

/// Runs the cases that are wanted, each with programs that have just been installed: what the page cache
/// has given up since, it reads back in other pieces.
fn sit(settings: &Settings, sitting: &Sitting<'_>) -> Result<(Figures, Option<Joining>)> {
    let cases: Vec<&Case> = CASES.iter().filter(|case| settings.wants(case)).collect();
    let (mut figures, mut docker) = (Figures::default(), None);
    for (index, case) in cases.iter().enumerate() {
        let (number, all) = (index + 1, cases.len());
        progress(&format!(
            "{number} of {all}, {}: {}",
            case.name,
            case.help()
        ));
        let in_case = || format!("case {}", case.name);
        fs::create_dir_all(sitting.leases).context("make a directory for leases")?;
        for suite in sitting.suites {
            install(suite, suite.bin_dir())?;
        }
        if let Work::Join = case.work {
            docker = Some(join::take(sitting, case).with_context(in_case)?);
        } else {
            figures.extend(sitting.take(case).with_context(in_case)?);
        }
        // They are not to be on the disk's mind during the next case.
        for suite in sitting.suites {
            leases::remove(&sitting.leases.join(suite.name()))?;
        }
    }
    Ok((figures, docker))
}

/// The plugins of a suite in a directory of their own below `scratch`, so that those of both suites
/// are in the page cache in the same way, and nobody replaces them meanwhile.
fn copied(suite: &Suite, scratch: &Path) -> Result<Suite> {
    let directory = scratch.join(format!("{}-plugins", suite.name()));
    fs::create_dir(&directory).context("make a directory for plugins")?;
    install(suite, &directory)?;
    Ok(Suite::of(suite.name(), &directory))
}

/// Into a directory that may be their own: there each gets a new file.
fn install(suite: &Suite, directory: &Path) -> Result<()> {
    let files: Vec<_> = fs::read_dir(suite.bin_dir())
        .context("list plugins")?
        .collect();
    for file in files {
        let file = file?;
        let copy = directory.join(file.file_name());
        if file.path().is_file() {
            placed::place(&file.path(), &copy)?;
        }
    }
    leases::written(directory)
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
        assert!(Settings::try_parse_from(["bench", "--quick", "--pairs", "9"]).is_err());
        let some = Settings::try_parse_from(["bench", "ipmasq", "--pairs", "3"]).unwrap();
        assert_eq!(some.cases, ["ipmasq"]);
        assert_eq!(some.effort(), Effort::Exactly(3));
        let quick = Settings::try_parse_from(["bench", "--quick"]).unwrap();
        assert_eq!(quick.effort(), Effort::Quick);
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

    #[test]
    fn the_list_has_a_line_for_each_case() {
        let lines = list();
        assert_eq!(lines.lines().count(), CASES.len());
        assert!(
            lines.contains("ports-5000            20  ADD and DEL of portmap, the 5,000th port")
        );
    }
}
