//! The README's tables: a choice of the page's figures, between marks that a reader does not see. Pure.

use anyhow::{Context as _, Result};

use super::Report;
use super::table::{head, mebibytes, render};
use crate::machine::Size;
use crate::pairs::{OURS, REFERENCE, Row};
use crate::stats::Samples;
use crate::trace::Cost;

/// Where it is.
pub(crate) const README: &str = "README.md";

/// Operations of one line, with the cases and the commands that are one cell each.
#[rustfmt::skip]
const LINES: &[(&str, &[(&str, &str)])] = &[
    ("start and VERSION of `bridge`", &[("version", "VERSION")]),
    ("`host-local` ADD / DEL", &[("host-local", "ADD"), ("host-local", "DEL")]),
    ("the same among 10,000 leases", &[("host-local-10000", "ADD"), ("host-local-10000", "DEL")]),
    ("the same among 60,000 leases", &[("host-local-60000", "ADD"), ("host-local-60000", "DEL")]),
    ("`bridge` + `host-local` ADD / DEL", &[("bridge", "ADD"), ("bridge", "DEL")]),
    ("the same with `ipMasq`, ADD / DEL", &[("ipmasq", "ADD"), ("ipmasq", "DEL")]),
    ("50 at once, each ADD / DEL", &[("at-once-50", "ADD"), ("at-once-50", "DEL")]),
    ("50 at once with `ipMasq`, each ADD / DEL",
        &[("at-once-ipmasq-50", "ADD"), ("at-once-ipmasq-50", "DEL")]),
    ("podman's chain (`bridge`, `portmap`, `firewall`, `tuning`) with a port, ADD / DEL",
        &[("podman", "ADD"), ("podman", "DEL")]),
    ("publishing the 5,000th port, ADD / DEL of `portmap`", &[("ports-5000", "ADD"), ("ports-5000", "DEL")]),
];

/// Those of connections.
const CONNECTIONS: (&str, &[(&str, &str)]) = (
    "a new connection through the 1st / 100th / 5,000th published port",
    &[("ports-1", ""), ("ports-100", ""), ("ports-5000", "")],
);

/// Programs whose sizes are told.
const SIZES: [&str; 3] = ["bridge", "host-local", "portmap"];

/// The README with its tables replaced.
///
/// # Errors
/// When a mark is missing.
pub(crate) fn rewritten(readme: &str, report: &Report) -> Result<String> {
    let text = between(readme, "figures", &report.figures_in_short())?;
    between(&text, "docker", &report.docker_in_short())
}

/// `text` with what is between the marks of that name replaced.
fn between(text: &str, name: &str, table: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- {name}: scripts/bench --write -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let missing = || format!("{README} has no line {}", begin.trim_end());
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let missing = || format!("{README} has no line {} behind that", end.trim_end());
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok([before, &begin, table, &end, after].concat())
}

impl Report {
    fn figures_in_short(&self) -> String {
        let figures = &self.figures;
        let mut table = vec![head(["operation, median", "reference", "Tenon", "ratio"])];
        let rows: Vec<&Row> = figures.rows.iter().chain(&figures.crowds).collect();
        table.extend(LINES.iter().filter_map(|line| cells(line, &rows, "ms")));
        let connections: Vec<&Row> = figures.connections.iter().collect();
        table.extend(cells(&CONNECTIONS, &connections, "µs"));
        table.extend(self.work_in_short());
        render(&table)
    }

    fn work_in_short(&self) -> Vec<Vec<String>> {
        let rows = &self.figures.rows;
        let of = |case: &str, what: fn(Cost) -> u32| {
            let row = rows.iter().find(|row| row.operation.is(case, "ADD"))?;
            Some(row.costs?.map(|cost| grouped(what(cost))))
        };
        let two = |title: &str, cases: [&str; 2], what| {
            let [one, other] = cases.map(|case| of(case, what));
            let ([one_then, one_now], [other_then, other_now]) = (one?, other?);
            let then = format!("{one_then} / {other_then}");
            Some(line(title, then, format!("{one_now} / {other_now}")))
        };
        let processes = "processes of an ADD with `ipMasq` / of podman's chain";
        let calls = "system calls of an ADD / of podman's chain";
        let mut lines = Vec::new();
        lines.extend(two(processes, ["ipmasq", "podman"], |cost| cost.processes));
        lines.extend(two(calls, ["bridge", "podman"], |cost| cost.syscalls));
        let costs = || rows.iter().filter_map(|row| row.costs);
        let mib = |kib: Option<u64>| mebibytes(kib.unwrap_or_default(), 1) + " MiB";
        let then = mib(costs().map(|[reference, _]| reference.peak_kib).max());
        let now = mib(costs().map(|[_, ours]| ours.peak_kib).max());
        lines.push(line("peak memory of any process", then, now));
        lines.push(self.sizes_in_short());
        lines
    }

    fn sizes_in_short(&self) -> Vec<String> {
        let sizes = |of: fn(&Size) -> u64| {
            let named = |plugin: &&str| self.sizes.iter().find(|size| size.plugin == **plugin);
            let sizes = SIZES.iter().filter_map(named);
            let sizes: Vec<String> = sizes.map(|size| mebibytes(of(size) / 1024, 1)).collect();
            sizes.join(" / ") + " MiB"
        };
        let title = format!("size of `{}`", SIZES.join("` / `"));
        line(
            &title,
            sizes(|size| size.reference),
            sizes(|size| size.ours),
        )
    }

    fn docker_in_short(&self) -> String {
        let mut table = vec![head([
            "operation, median",
            "`docker network connect` / `disconnect`",
            "`cnm-shim` ADD / DEL",
            "ratio",
        ])];
        let rows: Vec<&Row> = self.docker.iter().flat_map(|docker| &docker.rows).collect();
        for pair in rows.chunks(2) {
            let title = pair.first().map(|row| row.operation.title);
            table.extend(title.and_then(|title| joined(title, pair, "ms")));
        }
        render(&table)
    }
}

/// One without a ratio.
fn line(title: &str, reference: String, ours: String) -> Vec<String> {
    vec![title.to_owned(), reference, ours, String::new()]
}

fn cells(
    (title, operations): &(&str, &[(&str, &str)]),
    rows: &[&Row],
    unit: &str,
) -> Option<Vec<String>> {
    let find = |(case, command): &(&str, &str)| {
        let is = |row: &&&Row| row.operation.is(case, command);
        rows.iter().find(is).copied()
    };
    let found: Option<Vec<&Row>> = operations.iter().map(find).collect();
    joined(title, &found?, unit)
}

/// One line of several rows.
fn joined(title: &str, rows: &[&Row], unit: &str) -> Option<Vec<String>> {
    let side = |side: usize| {
        let median = |row: &&Row| Some(short(Samples::new(row.times.get(side)?)?.median()));
        let medians: Option<Vec<String>> = rows.iter().map(median).collect();
        Some(format!("{} {unit}", medians?.join(" / ")))
    };
    let ratio = |row: &&Row| {
        let [reference, ours] = &row.times;
        Some(ratio_in_short(
            Samples::of_ratios(ours, reference)?.median(),
        ))
    };
    let ratios: Option<Vec<String>> = rows.iter().map(ratio).collect();
    Some(vec![
        title.to_owned(),
        side(REFERENCE)?,
        side(OURS)?,
        ratios?.join(" / "),
    ])
}

/// As many digits as matter.
fn short(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        let rounded = format!("{value:.0}");
        rounded.parse().map_or(rounded, grouped)
    }
}

fn ratio_in_short(ratio: f64) -> String {
    if ratio < 0.01 {
        format!("{ratio:.4}")
    } else {
        format!("{ratio:.2}")
    }
}

/// `1234567` -> `1,234,567`
fn grouped(number: u32) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", grouped(number / 1000), number % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_need() {
        assert_eq!(
            [short(1.68), short(20.7), short(1371.2)],
            ["1.7", "21", "1,371"]
        );
        assert_eq!(
            [ratio_in_short(0.0012), ratio_in_short(0.29)],
            ["0.0012", "0.29"]
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = "a\n<!-- x: scripts/bench --write -->\nold\n<!-- end of x -->\nb\n";
        let expected = "a\n<!-- x: scripts/bench --write -->\nnew\n<!-- end of x -->\nb\n";
        assert_eq!(between(text, "x", "new\n").unwrap(), expected);
        assert!(between(text, "y", "").is_err());
        assert!(between("<!-- x: scripts/bench --write -->\n", "x", "").is_err());
    }

    #[test]
    fn the_readme_has_all_marks() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        for name in ["figures", "docker"] {
            between(&readme, name, "").unwrap();
        }
    }

    #[test]
    fn each_line_is_of_cases_that_there_are() {
        let all = LINES.iter().chain([&CONNECTIONS]);
        for (name, _) in all.flat_map(|(_, operations)| operations.iter()) {
            assert!(
                crate::case::CASES.iter().any(|case| case.name == *name),
                "{name}"
            );
        }
    }
}
