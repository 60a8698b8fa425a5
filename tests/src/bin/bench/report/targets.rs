//! What was aimed at, and how far the figures are from it. Pure.

use std::fmt::Write as _;

use super::table::{head, render};
use crate::pairs::Row;
use crate::sitting::Figures;
use crate::stats::{Samples, Spread};

/// How fast something is to be.
#[derive(Debug)]
struct Target {
    title: &'static str,
    of: Of,
    at_most: f64,
    /// Why it is missed, if it is: which measured cost stands in the way, and what was tried.
    obstacle: &'static str,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// The ratio to the reference: of this case, and this command.
    Reference(&'static str, &'static str),
    /// The ratio to the floor.
    Floor(&'static str, &'static str),
    /// The largest memory of any process, in MiB.
    Memory,
}

const fn target(title: &'static str, of: Of, at_most: f64, obstacle: &'static str) -> Target {
    Target {
        title,
        of,
        at_most,
        obstacle,
    }
}

use Of::{Floor, Memory, Reference};

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    target("ADD bridge + host-local", Reference("bridge", "ADD"), 0.18, "of 1.1 ms of processor time the kernel takes 36 % for the pair alone (12 % its entries in sysfs, 7 % its sysctls, 9 % its place in the bridge), 18 % for the other requests (6 of it the gratuitous ARP, which each container on the bridge hears), 14 % for exec, page faults and exit; the plugin's own code takes 10 %. Tried: one message for the pair in its final place, one send for address, route and link, no listing that takes the RTNL lock, IPAM in the same process and while the kernel's worker has that lock, an index from 8 leases on, one segment, large folios, prefaulting the text, and the functions that run side by side in the file (nothing gained where the file lies in large folios)"),
    target("DEL bridge + host-local", Reference("bridge", "DEL"), 0.20, ""),
    target("ADD with ipMasq", Reference("ipmasq", "ADD"), 0.08, "as without, and one look and one transaction of nf_tables"),
    target("DEL with ipMasq", Reference("ipmasq", "DEL"), 0.05, ""),
    target("ADD podman's chain", Reference("podman", "ADD"), 0.06, "four processes, the pair, and three plugins' transactions of nf_tables"),
    target("50 ADD at once", Reference("at-once-50", "ADD"), 0.20, "as for one. Tried: a turn at the RTNL lock (0.2 ms less of processor time each, and not faster)"),
    target("50 DEL at once", Reference("at-once-50", "DEL"), 0.15, "each DEL takes 1.15 ms of the two processors: 0.41 the kernel's end of the pair, 0.17 exec, page faults and exit, 0.15 look-ups, 0.08 spinning for the RTNL lock. Tried: one request for all, no child for those who follow"),
    target("ADD host-local, 10,000 leases", Reference("host-local-10000", "ADD"), 0.03, ""),
    target("DEL host-local, 10,000 leases", Reference("host-local-10000", "DEL"), 0.03, ""),
    target("ADD host-local, 60,000 leases", Reference("host-local-60000", "ADD"), 0.005, ""),
    target("DEL host-local, 60,000 leases", Reference("host-local-60000", "DEL"), 0.005, ""),
    target("peak memory of any process, MiB", Memory, 6.0, ""),
    target("ADD, to the kernel's work and the start of its processes", Floor("floor", "ADD"), 1.5, "the floor looks at nothing first, has no lease, no owner's mark and no way back"),
    target("VERSION of bridge, to an empty program", Floor("version", "VERSION"), 1.3, "the empty program is one of 13 KiB on musl; a program of two MiB touches twenty pages more. One on glibc takes three times as long as either"),
    target("VERSION of host-local, to an empty program", Floor("version-host-local", "VERSION"), 1.3, ""),
];

/// The target for an operation's ratio to the reference, if there is one.
pub(crate) fn target_of(row: &Row) -> Option<f64> {
    let found = TARGETS.iter().find(
        |target| matches!(target.of, Reference(case, command) if row.operation.is(case, command)),
    );
    found.map(|target| target.at_most)
}

/// A table of those that were measured, and what stands in the way of those that are missed.
pub(crate) fn judged(figures: &Figures) -> String {
    judge(TARGETS, figures)
}

fn judge(targets: &[Target], figures: &Figures) -> String {
    let mut table = vec![head(["target", "at most", "measured (quartiles)", "met"])];
    let mut missed = String::new();
    for target in targets {
        let Some(spread) = measured(target.of, figures) else {
            continue;
        };
        let met = spread.median <= target.at_most;
        table.push(vec![
            target.title.to_owned(),
            target.at_most.to_string(),
            written(target.of, spread),
            if met { "yes" } else { "no" }.to_owned(),
        ]);
        if !met && !target.obstacle.is_empty() {
            let _ = writeln!(missed, "- {}: {}", target.title, target.obstacle);
        }
    }
    if missed.is_empty() {
        return render(&table);
    }
    format!("{}\n{missed}", render(&table))
}

/// None when it was not measured.
fn measured(of: Of, figures: &Figures) -> Option<Spread> {
    match of {
        Reference(case, command) => {
            ratio(figures.rows.iter().chain(&figures.crowds), case, command)
        }
        Floor(case, command) => ratio(figures.floors.iter(), case, command),
        Memory => {
            let costs = figures.rows.iter().filter_map(|row| row.costs);
            let largest = costs.map(|[_, ours]| ours.peak_kib).max()?;
            let kib = f64::from(u32::try_from(largest).ok()?);
            Some(Samples::new(&[kib / 1024.0])?.spread())
        }
    }
}

fn ratio<'a>(mut rows: impl Iterator<Item = &'a Row>, case: &str, command: &str) -> Option<Spread> {
    let row = rows.find(|row| row.operation.is(case, command))?;
    let [reference, ours] = &row.times;
    Some(Samples::of_ratios(ours, reference)?.spread())
}

fn written(of: Of, spread: Spread) -> String {
    let Spread {
        first_quartile: low,
        median,
        third_quartile: high,
    } = spread;
    match of {
        Memory => format!("{median:.1}"),
        // What is to be a thousandth needs one more digit.
        Reference(..) if median < 0.01 => format!("{median:.4} ({low:.4}-{high:.4})"),
        Reference(..) => format!("{median:.3} ({low:.3}-{high:.3})"),
        Floor(..) => format!("{median:.2} ({low:.2}-{high:.2})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;
    use crate::pairs::Operation;
    use crate::trace::Cost;

    fn row(case: &'static str, reference: f64, ours: f64) -> Row {
        Row {
            operation: Operation {
                case,
                command: "ADD",
                title: "",
            },
            times: [vec![reference], vec![ours]],
            lasted: [vec![reference], vec![ours]],
            costs: Some([
                Cost::default(),
                Cost {
                    peak_kib: 2048,
                    ..Cost::default()
                },
            ]),
            others: vec![0],
        }
    }

    #[test]
    fn each_target_is_of_a_case() {
        for target in TARGETS {
            let (Reference(name, _) | Floor(name, _)) = target.of else {
                continue;
            };
            assert!(CASES.iter().any(|case| case.name == name), "{target:?}");
        }
    }

    #[test]
    fn misses_are_told_with_what_stands_in_the_way() {
        let targets = [
            target("bridge", Reference("bridge", "ADD"), 0.2, "never shown"),
            target("chain", Reference("podman", "ADD"), 0.2, "the kernel"),
            target("crowd", Reference("at-once-50", "ADD"), 0.005, ""),
            target("floor", Floor("floor", "ADD"), 1.5, ""),
            target("memory", Memory, 6.0, ""),
            target("unknown", Reference("bridge", "DEL"), 0.2, ""),
        ];
        let figures = Figures {
            rows: vec![row("bridge", 10.0, 2.0), row("podman", 10.0, 4.0)],
            crowds: vec![row("at-once-50", 1000.0, 4.0)],
            floors: vec![row("floor", 2.0, 3.5)],
            ..Figures::default()
        };
        let expected = "\
| target | at most |   measured (quartiles) | met |
| ------ | ------: | ---------------------: | --: |
| bridge |     0.2 |    0.200 (0.200-0.200) | yes |
| chain  |     0.2 |    0.400 (0.400-0.400) |  no |
| crowd  |   0.005 | 0.0040 (0.0040-0.0040) | yes |
| floor  |     1.5 |       1.75 (1.75-1.75) |  no |
| memory |       6 |                    2.0 | yes |

- chain: the kernel
";
        assert_eq!(judge(&targets, &figures), expected);
    }

    #[test]
    fn an_operation_has_its_target_at_hand() {
        assert_eq!(target_of(&row("bridge", 1.0, 1.0)), Some(0.18));
        assert_eq!(target_of(&row("dual-stack", 1.0, 1.0)), None);
    }
}
