//! Lines over two logarithmic axes. Pure.

use super::svg::{Anchor, Axis, Colour, Dash, Drawing, number};

/// What is drawn.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) title: String,
    /// What is counted to the right.
    pub(super) across: &'static str,
    /// Where a value is to the right, and what is written there.
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) all: Vec<Line>,
}

/// One of the lines.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) dash: Dash,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 320.0;
/// Between lines of the legend.
const STEP: f64 = 18.0;
/// How many columns the legend has.
const COLUMNS: usize = 2;

/// The file; time goes up, in milliseconds.
pub(super) fn draw(plot: &Lines) -> String {
    let rows = plot.all.len().div_ceil(COLUMNS);
    let legend = BOTTOM + 52.0;
    let height = legend + STEP * f64::from(u32::try_from(rows).unwrap_or(0));
    let mut drawing = Drawing::new(&plot.title, WIDTH, height);
    drawing.text((LEFT, 20.0), Anchor::Start, &plot.title);
    let points = plot.all.iter().flat_map(|line| &line.points);
    let ticks = plot.ticks.iter().map(|(value, _)| *value);
    let across = ticks.chain(points.clone().map(|(value, _)| *value));
    let across = Axis::between(across, (LEFT + 20.0, RIGHT - 20.0));
    let up = Axis::around(points.map(|(_, time)| *time), (BOTTOM, TOP));
    grid(&mut drawing, plot, across, up);
    for line in &plot.all {
        let points: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|(x, y)| (across.at(*x), up.at(*y)))
            .collect();
        drawing.path(line.colour, line.dash, &points);
    }
    for (index, line) in plot.all.iter().enumerate() {
        let place = |number: usize| f64::from(u32::try_from(number).unwrap_or(0));
        let x = LEFT + 320.0 * place(index % COLUMNS);
        let y = legend + STEP * place(index / COLUMNS);
        drawing.path(line.colour, line.dash, &[(x, y - 4.0), (x + 36.0, y - 4.0)]);
        drawing.text((x + 44.0, y), Anchor::Start, &line.name);
    }
    drawing.done()
}

fn grid(drawing: &mut Drawing, plot: &Lines, across: Axis, up: Axis) {
    for time in up.ticks() {
        let y = up.at(time);
        drawing.line(Colour::Faint, (LEFT, y), (RIGHT, y));
        let label = format!("{} ms", number(time));
        drawing.text((LEFT - 6.0, y + 4.0), Anchor::End, &label);
    }
    for (value, label) in &plot.ticks {
        let x = across.at(*value);
        drawing.line(Colour::Faint, (x, TOP), (x, BOTTOM));
        drawing.text((x, BOTTOM + 16.0), Anchor::Middle, label);
    }
    let middle = f64::midpoint(LEFT, RIGHT);
    drawing.text((middle, BOTTOM + 32.0), Anchor::Middle, plot.across);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Lines {
        Lines {
            title: "leases".into(),
            across: "leases",
            ticks: vec![(100.0, "0".into()), (10_000.0, "10,000".into())],
            all: vec![
                Line {
                    name: "ADD, reference".into(),
                    colour: Colour::Reference,
                    dash: Dash::Solid,
                    points: vec![(100.0, 1.0), (10_000.0, 100.0)],
                },
                Line {
                    name: "ADD, Tenon".into(),
                    colour: Colour::Ours,
                    dash: Dash::Dashed,
                    points: vec![(100.0, 10.0), (10_000.0, 10.0)],
                },
            ],
        }
    }

    #[test]
    fn lines_go_where_their_values_are() {
        let svg = draw(&plot());
        // From the lower left corner to the upper right one, and across the middle.
        assert!(svg.contains(r#"points="100.0,320.0 676.0,44.0""#), "{svg}");
        assert!(svg.contains(r#"points="100.0,182.0 676.0,182.0""#), "{svg}");
    }

    #[test]
    fn each_line_has_a_legend_and_each_tick_a_label() {
        let svg = draw(&plot());
        for text in [
            ">ADD, reference<",
            ">ADD, Tenon<",
            ">10,000<",
            ">0<",
            ">100 ms<",
            ">leases<",
        ] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert_eq!(svg.matches("<polyline").count(), 4);
    }

    #[test]
    fn the_same_figures_are_the_same_file() {
        assert_eq!(draw(&plot()), draw(&plot()));
    }
}
