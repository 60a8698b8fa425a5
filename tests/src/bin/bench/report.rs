//! Tables, for a terminal and for docs/benchmarks.md. Pure.

use std::fmt::Write as _;

use crate::join::Joining;
use crate::machine::{Machine, Size};
use crate::sitting::{Figures, Row};
use crate::stats::Samples;
use crate::trace::Cost;

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
    pub(crate) pairs: u16,
}

impl Report {
    /// For a terminal.
    pub(crate) fn tables(&self) -> String {
        let [times, connections] = [self.times(), self.connections()];
        let [work, sizes] = [self.work(), self.sizes()];
        let docker = self.docker_times();
        format!(
            "{}\n{times}\n{connections}\n{work}\n{docker}\n{sizes}",
            self.facts()
        )
    }

    /// For docs/benchmarks.md.
    pub(crate) fn page(&self) -> String {
        let (facts, times, connections) = (self.facts(), self.times(), self.connections());
        let (work, sizes) = (self.work(), self.sizes());
        let how = HOW.replace("{pairs}", &self.pairs.to_string());
        let docker = self.docker_times();
        format!(
            "# Benchmarks\n\n{INTRODUCTION}\n{facts}\n## Time\n\n{times}\n\
             ## Connections\n\n{CONNECTIONS}\n{connections}\n## Work\n\n{WORK}\n{work}\n\
             ## Networks of Docker's model\n\n{DOCKER}\n{docker}\n\
             ## Size of the binaries\n\n{sizes}\n## How it was measured\n\n{how}"
        )
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
             - {} pairs of runs of each operation; {:.1} other processes were running on average\n",
            env!("CARGO_PKG_VERSION"),
            self.pairs,
            self.others()
        )
    }

    /// How many other processes were running between pairs, on average.
    pub(crate) fn others(&self) -> f64 {
        let docker = || self.docker.iter().flat_map(|docker| &docker.rows);
        let figures = || self.figures.rows.iter().chain(&self.figures.connections);
        let counts = || figures().chain(docker()).flat_map(|row| &row.others);
        let samples = u32::try_from(counts().count()).unwrap_or(u32::MAX).max(1);
        f64::from(counts().sum::<u32>()) / f64::from(samples)
    }

    fn times(&self) -> String {
        times(self.head("operation", "ms"), &self.figures.rows)
    }

    fn docker_times(&self) -> String {
        let docker = self.docker.as_ref();
        docker.map_or(String::new(), |docker| {
            let head = ["operation", "Docker, ms", "cnm-shim, ms"];
            times(head.map(str::to_owned), &docker.rows)
        })
    }

    fn connections(&self) -> String {
        times(self.head("through", "µs"), &self.figures.connections)
    }

    /// What a table's columns of times are called.
    fn head(&self, what: &str, unit: &str) -> [String; 3] {
        let [reference, ours] = self.compared.map(|name| format!("{name}, {unit}"));
        [what.to_owned(), reference, ours]
    }

    fn work(&self) -> String {
        let head = [
            "operation",
            "processes",
            "threads",
            "system calls",
            "peak memory, MiB",
        ];
        let mut table = vec![head.map(str::to_owned).to_vec()];
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

fn times([what, reference, ours]: [String; 3], rows: &[Row]) -> String {
    let [p99, ratio] = ["p99", "ratio (quartiles)"].map(str::to_owned);
    let mut table = vec![vec![what, reference, p99.clone(), ours, p99, ratio]];
    table.extend(rows.iter().filter_map(time_cells));
    render(&table)
}

const INTRODUCTION: &str = "\
`scripts/bench` takes these figures on your machine, `scripts/bench --write` writes this page. Read the
ratios: absolute times are those of one machine.
";

const DOCKER: &str = "\
A container joins a network and leaves it: by `docker network connect` and `disconnect`, asked for with one request to
the Engine's API or with Docker's own client, and by `cnm-shim` in dockerd's place. The remote driver is one program that
serves both, and says how long it took.
";

const CONNECTIONS: &str = "\
How long a client of another machine waits for a TCP connection to the port that was published last,
with so many published. Each port is another container's.
";

const WORK: &str = "\
What one operation takes: reference / Tenon, each with everything that it starts. The plugin itself and
the main thread of each process are counted. Memory is the largest resident size of any one process.
";

const HOW: &str = "\
- A pair is one run of the reference and one of Tenon on the same work; who goes first changes with every
  pair. The ratio is the median of the {pairs} ratios Tenon / reference within pairs, with its quartiles.
  p99 is the nearest rank: with 100 pairs or fewer the slowest run.
- A run lasts from before its process is made until the process has ended and its stdout was read to the
  end, as a runtime waits for it. All runs happened in one sitting, with warm caches.
- Each side has a network namespace as its host, a bridge, and a directory of leases on a disk, of its own.
  The containers' namespaces are made beforehand. One more container is attached all the time.
- All containers are added first and then deleted; DEL gets the result of ADD as `prevResult`. After each
  half, the numbers of links and leases must be right, so that no plugin wins by doing nothing.
- The bridge is a gateway (`isGateway`), and has addresses of 10.88.0.0/16 and, with IPv6, of fd88::/64.
- `ipMasq` of the reference runs iptables, Tenon's is an nf_tables transaction.
- Docker's state and that of `cnm-shim` are on the same disk. dockerd runs with `--iptables=false`, so neither bridge
  masquerades. The container that joins is the same all the time, one more is on each network.
- podman's chain is its default network, `bridge`, `portmap`, `firewall` and `tuning` with version 0.4.0,
  for containers that publish a TCP port. Its time is that of its plugins, one after the other.
- The last port's ADD and DEL are done again and again, in 20 pairs where there are 5,000. Those before it
  are published by the plugin; the reference's by `iptables-restore`, with the rules that the plugin has
  made for the first one, made over for each. Before each run of a chain or of portmap 100 ms pass, in which
  the kernel finishes what it does about the other side's rules.
- Client, host and container are namespaces. A run is 100 connections, one after the other, whose mean it
  is; each is a new one to the packet filter.
- System calls, processes, threads and memory are counted in one more run under ptrace(2), not a timed one.
";

fn time_cells(row: &Row) -> Option<Vec<String>> {
    let [reference, ours] = &row.times;
    let ratio = Samples::of_ratios(ours, reference)?.spread();
    let (reference, ours) = (Samples::new(reference)?, Samples::new(ours)?);
    Some(vec![
        operation(row),
        format!("{:.2}", reference.median()),
        format!("{:.2}", reference.p99()),
        format!("{:.2}", ours.median()),
        format!("{:.2}", ours.p99()),
        format!(
            "{:.3} ({:.3}-{:.3})",
            ratio.median, ratio.first_quartile, ratio.third_quartile
        ),
    ])
}

fn operation(row: &Row) -> String {
    format!("{} {}", row.command, row.title).trim().to_owned()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of programs are far below 2^52"
)]
fn mebibytes(kib: u64, digits: usize) -> String {
    format!("{:.digits$}", kib as f64 / 1024.0)
}

/// A Markdown table with its head first and its numbers, all but the first column, to the right;
/// aligned, so that a terminal shows it well.
fn render(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in table.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if number == 0 {
            text.push_str(&rule(&widths));
        }
    }
    text
}

/// The line below the head.
fn rule(widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, &width) in widths.iter().enumerate() {
        let dashes = "-".repeat(width + 1);
        let _ = match column {
            0 => write!(text, " {} |", "-".repeat(width)),
            _ => write!(text, " {}: |", dashes.get(2..).unwrap_or_default()),
        };
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cost = |processes, peak_kib| Cost {
            processes,
            threads: 3,
            syscalls: 90,
            peak_kib,
        };
        Report {
            compared: ["reference", "Tenon"],
            machine: Machine {
                kernel: "6.1.0".into(),
                processor: "Some CPU".into(),
                cores: 2,
                file_system: "ext4".into(),
                reference: "Debian's containernetworking-plugins 1.1.1".into(),
                iptables: "iptables v1.8.9 (nf_tables)".into(),
            },
            sizes: vec![Size {
                plugin: "bridge".into(),
                reference: 3 << 20,
                ours: 1 << 20,
            }],
            figures: Figures {
                rows: vec![Row {
                    command: "ADD",
                    title: "bridge",
                    times: [vec![10.0, 20.0, 30.0], vec![1.0, 4.0, 9.0]],
                    costs: Some([cost(12, 10_240), cost(2, 1536)]),
                    others: vec![0, 1, 2],
                }],
                connections: vec![Row {
                    command: "",
                    title: "portmap, the 100th port",
                    times: [vec![40.0, 60.0], vec![30.0, 30.0]],
                    costs: None,
                    others: vec![1],
                }],
            },
            docker: Some(Joining {
                version: "20.10.24 (API 1.41)".into(),
                rows: vec![Row {
                    command: "ADD",
                    title: "bridge",
                    times: [vec![30.0], vec![15.0]],
                    costs: None,
                    others: vec![1],
                }],
            }),
            pairs: 3,
        }
    }

    #[test]
    fn times_have_medians_p99_and_the_ratio_of_pairs() {
        let expected = "\
| operation  | reference, ms |   p99 | Tenon, ms |  p99 |   ratio (quartiles) |
| ---------- | ------------: | ----: | --------: | ---: | ------------------: |
| ADD bridge |         20.00 | 30.00 |      4.00 | 9.00 | 0.200 (0.150-0.250) |
";
        assert_eq!(report().times(), expected);
    }

    #[test]
    fn work_counts_the_plugin_and_its_main_thread() {
        let expected = "\
| operation  | processes | threads | system calls | peak memory, MiB |
| ---------- | --------: | ------: | -----------: | ---------------: |
| ADD bridge |    12 / 2 |  15 / 5 |      90 / 90 |       10.0 / 1.5 |
";
        assert_eq!(report().work(), expected);
    }

    #[test]
    fn connections_have_a_table_of_their_own() {
        let expected = "\
| through                 | reference, µs |   p99 | Tenon, µs |   p99 |   ratio (quartiles) |
| ----------------------- | ------------: | ----: | --------: | ----: | ------------------: |
| portmap, the 100th port |         50.00 | 60.00 |     30.00 | 30.00 | 0.625 (0.562-0.688) |
";
        assert_eq!(report().connections(), expected);
    }

    #[test]
    fn the_page_tells_what_on_and_how() {
        let page = report().page();
        for part in [
            "# Benchmarks\n",
            "Linux 6.1.0, 2 cores",
            "leases on ext4",
            "the 3 ratios",
            "; 1.0 other processes",
            "Docker 20.10.24 (API 1.41)",
            "| ADD bridge |      30.00 | 30.00 |        15.00 | 15.00 | 0.500 (0.500-0.500) |",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains('{'), "{page}");
    }
}
