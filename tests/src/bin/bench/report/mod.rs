//! Tables, for a terminal and for docs/benchmarks.md. Pure.

mod readme;
mod table;
mod targets;
mod text;

pub(crate) use readme::{README, rewritten};
pub(crate) use targets::target_of;

use std::fmt::Write as _;

use self::table::{head, mebibytes, render};
use crate::join::Joining;
use crate::machine::{Machine, Size};
use crate::pairs::Row;
use crate::sitting::Figures;
use crate::stats::Samples;
use crate::trace::Cost;

/// A process that ends so soon after the plugin is only the end of it, in milliseconds.
const AT_ONCE: f64 = 0.2;

/// All that a sitting found out.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the tables call both sides.
    pub(crate) compared: [&'static str; 2],
    pub(crate) machine: Machine,
    pub(crate) sizes: Vec<Size>,
    pub(crate) figures: Figures,
    /// Against Docker.
    pub(crate) docker: Option<Joining>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn tables(&self) -> String {
        let sections = self.sections();
        let tables = sections
            .iter()
            .map(|section| &section.table)
            .filter(|table| table.lines().count() > 2);
        let tables: Vec<&str> = tables.map(String::as_str).collect();
        format!("{}\n{}", self.facts(), tables.join("\n"))
    }

    /// For docs/benchmarks.md.
    pub(crate) fn page(&self) -> String {
        let mut page = format!("# Benchmarks\n\n{}\n{}", text::INTRODUCTION, self.facts());
        for section in self.sections() {
            if !section.title.is_empty() {
                let _ = writeln!(page, "\n## {}", section.title);
            }
            for part in [section.before, &section.table, section.after] {
                if !part.is_empty() {
                    page.push('\n');
                    page.push_str(part);
                }
            }
        }
        page + "\n## How it was measured\n\n" + text::HOW
    }

    fn sections(&self) -> Vec<Section> {
        let (all, floors) = (&self.figures.rows, &self.figures.floors);
        let floor_names = ["operation", "floor, ms", "Tenon, ms"].map(str::to_owned);
        let docker_names = ["operation", "Docker, ms", "cnm-shim, ms"].map(str::to_owned);
        let docker = self.docker.iter().flat_map(|docker| &docker.rows);
        let lasted = self.lasted();
        let nothing = lasted.is_none();
        vec![
            Section::new("Targets", text::TARGETS, targets::judged(&self.figures)).with(text::BARS),
            Section::new("Time", "", times(self.head("operation", "ms"), all)).with(text::LEASES),
            Section::new("Many at once", text::CROWDS, self.crowds()).with(text::CROWD_PLOTS),
            Section::new("The floor", text::FLOORS, times(floor_names, floors)),
            Section::new("", text::PARTS, self.parts()),
            Section::new(
                "What goes on after the answer",
                if nothing {
                    text::NOTHING_LASTED
                } else {
                    text::LASTED
                },
                lasted.unwrap_or_default(),
            ),
            Section::new("Connections", text::CONNECTIONS, self.connections()),
            Section::new("Work", text::WORK, self.work()),
            Section::new(
                "Networks of Docker's model",
                text::DOCKER,
                times(docker_names, docker),
            ),
            Section::new("Size of the binaries", "", self.sizes()),
        ]
    }

    fn facts(&self) -> String {
        let Machine {
            kernel,
            processor,
            cores,
            file_system,
            reference,
            iptables,
        } = &self.machine;
        let docker = self.docker.as_ref();
        let docker = docker.map_or(String::new(), |docker| {
            format!("; Docker {}", docker.version)
        });
        format!(
            "- Tenon {}; the reference plugins are {reference}{docker}\n\
             - Linux {kernel}, {cores} cores of {processor}, {iptables}\n\
             - leases on {file_system}\n\
             - {:.1} other processes were running on average\n",
            env!("CARGO_PKG_VERSION"),
            self.others()
        )
    }

    /// How many other processes were running between pairs, on average.
    pub(crate) fn others(&self) -> f64 {
        let Figures {
            rows,
            crowds,
            floors,
            connections,
            ..
        } = &self.figures;
        let docker = || self.docker.iter().flat_map(|docker| &docker.rows);
        let figures = || rows.iter().chain(crowds).chain(floors).chain(connections);
        let counts = || figures().chain(docker()).flat_map(|row| &row.others);
        let samples = u32::try_from(counts().count()).unwrap_or(u32::MAX).max(1);
        f64::from(counts().sum::<u32>()) / f64::from(samples)
    }

    fn crowds(&self) -> String {
        times(self.head("operation", "ms each"), &self.figures.crowds)
    }

    fn connections(&self) -> String {
        times(self.head("through", "µs"), &self.figures.connections)
    }

    /// What a table's columns of times are called.
    fn head(&self, what: &str, unit: &str) -> [String; 3] {
        let [reference, ours] = self.compared.map(|name| format!("{name}, {unit}"));
        [what.to_owned(), reference, ours]
    }

    fn parts(&self) -> String {
        let mut table = vec![head(["part", "median, ms", "p99", "runs"])];
        for part in &self.figures.parts {
            if let Some(samples) = Samples::new(&part.times) {
                table.push(vec![
                    part.title.to_owned(),
                    format!("{:.2}", samples.median()),
                    format!("{:.2}", samples.p99()),
                    part.times.len().to_string(),
                ]);
            }
        }
        render(&table)
    }

    /// None when nothing was left running.
    fn lasted(&self) -> Option<String> {
        let Figures { rows, crowds, .. } = &self.figures;
        let later: Vec<Row> = rows
            .iter()
            .chain(crowds)
            .filter_map(Row::until_all_had_ended)
            .collect();
        let names = self.head("operation", "ms");
        (!later.is_empty()).then(|| times(names, &later))
    }

    fn work(&self) -> String {
        let mut table = vec![head([
            "operation",
            "processes",
            "threads",
            "system calls",
            "page faults",
            "peak memory, MiB",
        ])];
        for row in &self.figures.rows {
            let Some([reference, ours]) = row.costs else {
                continue;
            };
            let both = |of: fn(Cost) -> String| format!("{} / {}", of(reference), of(ours));
            table.push(vec![
                operation(row),
                both(|cost| cost.processes.to_string()),
                both(|cost| (cost.processes + cost.threads).to_string()),
                both(|cost| cost.syscalls.to_string()),
                both(|cost| cost.faults.to_string()),
                both(|cost| mebibytes(cost.peak_kib, 1)),
            ]);
        }
        render(&table)
    }

    fn sizes(&self) -> String {
        let mut table = vec![self.head("plugin", "MiB").to_vec()];
        table.extend(self.sizes.iter().map(|size| {
            let [reference, ours] = [size.reference, size.ours].map(|bytes| bytes / 1024);
            vec![
                size.plugin.clone(),
                mebibytes(reference, 2),
                mebibytes(ours, 2),
            ]
        }));
        render(&table)
    }
}

/// A table, and what the page says around it.
struct Section {
    title: &'static str,
    before: &'static str,
    table: String,
    after: &'static str,
}

impl Section {
    fn new(title: &'static str, before: &'static str, table: String) -> Self {
        Self {
            title,
            before,
            table,
            after: "",
        }
    }

    fn with(self, after: &'static str) -> Self {
        Self { after, ..self }
    }
}

impl Row {
    /// The row of the times until nothing of it ran any more; None where that was at once.
    fn until_all_had_ended(&self) -> Option<Self> {
        let later = |(times, lasted): (&Vec<f64>, &Vec<f64>)| {
            let rest: Vec<f64> = lasted
                .iter()
                .zip(times)
                .map(|(all, time)| all - time)
                .collect();
            Samples::new(&rest).is_some_and(|rest| rest.median() > AT_ONCE)
        };
        let left = self.times.iter().zip(&self.lasted).any(later);
        left.then(|| Self {
            operation: self.operation,
            times: self.lasted.clone(),
            lasted: self.lasted.clone(),
            costs: None,
            others: self.others.clone(),
        })
    }
}

fn times<'a>(names: [String; 3], rows: impl IntoIterator<Item = &'a Row>) -> String {
    let [what, reference, ours] = names;
    let [p99, ratio, pairs] = ["p99", "ratio (quartiles)", "pairs"].map(str::to_owned);
    let mut table = vec![vec![what, reference, p99.clone(), ours, p99, ratio, pairs]];
    table.extend(rows.into_iter().filter_map(time_cells));
    render(&table)
}

fn time_cells(row: &Row) -> Option<Vec<String>> {
    let [reference, ours] = &row.times;
    let ratio = Samples::of_ratios(ours, reference)?.spread();
    let (reference, ours) = (Samples::new(reference)?, Samples::new(ours)?);
    let digits = if ratio.median < 0.01 { 4 } else { 3 };
    Some(vec![
        operation(row),
        format!("{:.2}", reference.median()),
        format!("{:.2}", reference.p99()),
        format!("{:.2}", ours.median()),
        format!("{:.2}", ours.p99()),
        format!(
            "{:.digits$} ({:.digits$}-{:.digits$})",
            ratio.median, ratio.first_quartile, ratio.third_quartile
        ),
        row.pairs().to_string(),
    ])
}

/// What the tables call it.
pub(crate) fn operation(row: &Row) -> String {
    let operation = row.operation;
    format!("{} {}", operation.command, operation.title)
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests;
