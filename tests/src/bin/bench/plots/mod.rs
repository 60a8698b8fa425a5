//! The page's plots. Pure.

mod bars;
mod lines;
mod svg;

use self::bars::Bar;
use self::lines::{Line, Lines};
use self::svg::{Colour, Dash};
use crate::case::{CASES, Work};
use crate::leases::Filled;
use crate::pairs::Row;
use crate::report::{operation, target_of};
use crate::reserve::REBUILT;
use crate::sitting::Figures;
use crate::stats::Samples;

/// Where they are, beside the page.
pub(crate) const DIRECTORY: &str = "docs/benchmarks";

/// Where a logarithmic axis has no lease at all.
const NONE: f64 = 100.0;

/// File names and contents.
pub(crate) fn drawn(figures: &Figures) -> Vec<(&'static str, String)> {
    let crowd = |masquerade, with| {
        let title = format!("Many at once{with}: from the first start until all have ended");
        lines::draw(&crowds(figures, masquerade, title))
    };
    vec![
        ("ratios.svg", ratios(figures)),
        ("leases.svg", lines::draw(&leases(figures))),
        ("at-once.svg", crowd(false, "")),
        ("at-once-ipmasq.svg", crowd(true, " with ipMasq")),
    ]
}

fn ratios(figures: &Figures) -> String {
    let bar = |row: &Row| {
        let [reference, ours] = &row.times;
        let ratio = Samples::of_ratios(ours, reference)?.median();
        (ratio > 0.0).then(|| Bar {
            name: operation(row),
            value: ratio,
            mark: target_of(row),
        })
    };
    let rows = figures.rows.iter().chain(&figures.crowds);
    let bars: Vec<Bar> = rows.filter_map(bar).collect();
    bars::draw(
        "Time as a share of the reference's; marks are targets",
        &bars,
    )
}

fn leases(figures: &Figures) -> Lines {
    let count = |row: &Row| match work(row)? {
        Work::Reserve(Filled::Leases(0)) => Some(NONE),
        Work::Reserve(Filled::Leases(count)) => Some(f64::from(*count)),
        _ => None,
    };
    let kinds = [
        ("ADD", Dash::Solid),
        ("DEL", Dash::Dashed),
        (REBUILT, Dash::Dotted),
    ];
    let named = |value: f64, text: &str| (value, text.to_owned());
    Lines {
        title: "host-local: time against the number of leases".to_owned(),
        across: "leases",
        ticks: vec![
            named(NONE, "0"),
            named(1000.0, "1,000"),
            named(10_000.0, "10,000"),
            named(60_000.0, "60,000"),
        ],
        all: both(&figures.rows, &kinds, count),
    }
}

fn crowds(figures: &Figures, masquerade: bool, title: String) -> Lines {
    let count = move |row: &Row| match work(row)? {
        Work::Crowd { count, network } if network.masquerade == masquerade => {
            Some(f64::from(*count))
        }
        _ => None,
    };
    let kinds = [("ADD", Dash::Solid), ("DEL", Dash::Dashed)];
    let mut lines = both(&figures.crowds, &kinds, count);
    // The figures are of each.
    for (count, time) in lines.iter_mut().flat_map(|line| &mut line.points) {
        *time *= *count;
    }
    Lines {
        title,
        across: "started at once",
        ticks: [1_u32, 10, 50, 100]
            .map(|count| (f64::from(count), count.to_string()))
            .to_vec(),
        all: lines,
    }
}

/// A line for each command and each side, of the medians of the rows that `count` has a place for.
fn both(
    rows: &[Row],
    kinds: &[(&'static str, Dash)],
    count: impl Fn(&Row) -> Option<f64>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (command, dash) in kinds {
        let sides = [(Colour::Reference, "reference"), (Colour::Ours, "Tenon")];
        for (side, (colour, name)) in sides.into_iter().enumerate() {
            let point = |row: &Row| {
                let at = count(row)?;
                let time = Samples::new(row.times.get(side)?)?.median();
                (row.operation.command == *command).then_some((at, time))
            };
            lines.push(Line {
                name: format!("{command}, {name}"),
                colour,
                dash: *dash,
                points: rows.iter().filter_map(point).collect(),
            });
        }
    }
    lines
}

fn work(row: &Row) -> Option<&'static Work> {
    let case = CASES.iter().find(|case| case.name == row.operation.case)?;
    Some(&case.work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Operation;

    fn row(case: &'static str, command: &'static str, times: [f64; 2]) -> Row {
        let [reference, ours] = times.map(|time| vec![time]);
        Row {
            operation: Operation {
                case,
                command,
                title: "what",
            },
            lasted: [reference.clone(), ours.clone()],
            times: [reference, ours],
            costs: None,
            others: vec![0],
        }
    }

    fn figures() -> Figures {
        Figures {
            rows: vec![
                row("host-local", "ADD", [1.0, 1.0]),
                row("host-local-10000", "ADD", [100.0, 1.0]),
                row("host-local-10000", REBUILT, [100.0, 10.0]),
                row("bridge", "ADD", [10.0, 1.0]),
            ],
            crowds: vec![
                row("at-once-10", "ADD", [5.0, 2.0]),
                row("at-once-ipmasq-10", "ADD", [9.0, 3.0]),
            ],
            ..Figures::default()
        }
    }

    #[test]
    fn lines_have_the_medians_of_their_cases_only() {
        let plot = leases(&figures());
        let points: Vec<_> = plot.all.iter().map(|line| line.points.clone()).collect();
        assert_eq!(points[0], [(NONE, 1.0), (10_000.0, 100.0)]);
        assert_eq!(points[1], [(NONE, 1.0), (10_000.0, 1.0)]);
        assert_eq!(points[5], [(10_000.0, 10.0)]);
        let plot = crowds(&figures(), true, String::new());
        assert_eq!(plot.all[1].points, [(10.0, 30.0)]);
    }

    #[test]
    fn all_plots_that_the_page_shows_are_drawn() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/bench/report/text.rs");
        let page = std::fs::read_to_string(page).unwrap();
        let drawn = drawn(&figures());
        assert_eq!(page.matches("](benchmarks/").count(), drawn.len());
        for (name, svg) in drawn {
            assert!(page.contains(&format!("](benchmarks/{name})")), "{name}");
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(!svg.contains("<script"), "{svg}");
        }
    }
}
