//! The little of SVG that the plots need: no script, colours for light and for dark, the same text for
//! the same figures. Pure.

use std::fmt::Write as _;

/// Which colour something has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Reference,
    Ours,
    /// Of axes' lines.
    Faint,
    /// Of marks, and of text.
    Ink,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

/// Which end of a text is where it is put.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Classes are colours, elements say what is painted with theirs.
const STYLE: &str = "\
rect{fill:currentColor}line,polyline{fill:none;stroke:currentColor}text{fill:currentColor}\
svg,.ink{color:#1f2328}.paper{color:#fff}.faint{color:#d1d9e0}\
.reference{color:#bc4c00}.ours{color:#0969da}\
@media(prefers-color-scheme:dark){svg,.ink{color:#e6edf3}.paper{color:#0d1117}\
.faint{color:#3d444d}.reference{color:#f0883e}.ours{color:#58a6ff}}";

/// A drawing, from its upper left corner, in pixels.
#[derive(Debug)]
pub(super) struct Drawing {
    body: String,
    title: String,
    width: f64,
    height: f64,
}

impl Drawing {
    /// On paper of its own, since a page may be light where its reader's system is dark.
    pub(super) fn new(title: &str, width: f64, height: f64) -> Self {
        let mut drawing = Self {
            body: String::new(),
            title: escaped(title),
            width,
            height,
        };
        drawing.rect("paper", (0.0, 0.0), (width, height));
        drawing
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    pub(super) fn line(&mut self, colour: Colour, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let class = colour.class();
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    pub(super) fn path(&mut self, colour: Colour, dash: Dash, points: &[(f64, f64)]) {
        let class = colour.class();
        let dash = match dash {
            Dash::Solid => "",
            Dash::Dashed => r#" stroke-dasharray="7 4""#,
            Dash::Dotted => r#" stroke-dasharray="2 4""#,
        };
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            self.body,
            r#"<polyline class="{class}" stroke-width="2"{dash} points="{points}"/>"#
        );
    }

    pub(super) fn bar(&mut self, colour: Colour, corner: (f64, f64), size: (f64, f64)) {
        self.rect(colour.class(), corner, size);
    }

    fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
    }

    /// The whole file.
    pub(super) fn done(self) -> String {
        let Self {
            body,
            title,
            width,
            height,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" \
             role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
        )
    }
}

impl Colour {
    fn class(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Ours => "ours",
            Self::Faint => "faint",
            Self::Ink => "ink",
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A logarithmic axis: where a value is, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// The powers of ten at both ends.
    pub(super) decades: (f64, f64),
    /// Where these are.
    pub(super) pixels: (f64, f64),
}

impl Axis {
    /// From one pixel to another, with all of the values between two whole powers of ten.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone, pixels: (f64, f64)) -> Self {
        let (lower, upper) = Self::between(values, pixels).decades;
        let lower = lower.floor();
        let decades = (lower, upper.ceil().max(lower + 1.0));
        Self { decades, pixels }
    }

    /// From one pixel to another, with the least and the largest of the values there.
    pub(super) fn between(values: impl Iterator<Item = f64> + Clone, pixels: (f64, f64)) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let decades = if 0.0 < least && least < most {
            (least.log10(), most.log10())
        } else if 0.0 < most {
            (most.log10(), most.log10() + 1.0)
        } else {
            (0.0, 1.0)
        };
        Self { decades, pixels }
    }

    /// Values outside are put to the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let (low, high) = self.decades;
        let share = (value.log10().clamp(low, high) - low) / (high - low);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// The whole powers of ten.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.decades;
        std::iter::successors(Some(low), |power| Some(power + 1.0))
            .take_while(|power| *power <= high)
            .map(|power| 10_f64.powf(power))
            .collect()
    }
}

/// `0.001`, `1`, `1000`
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values have exact representations")]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_powers_of_ten() {
        let axis = Axis::around([0.5, 3.0, 70.0].into_iter(), (0.0, 300.0));
        assert_eq!(axis.decades, (-1.0, 2.0));
        assert_eq!(
            [axis.at(0.1), axis.at(1.0), axis.at(100.0)],
            [0.0, 100.0, 300.0]
        );
        assert_eq!([axis.at(0.0), axis.at(1e9)], [0.0, 300.0]);
        let ticks: Vec<String> = axis.ticks().into_iter().map(number).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100"]);
    }

    #[test]
    fn without_values_there_is_an_axis_all_the_same() {
        let axis = Axis::around(std::iter::empty(), (0.0, 10.0));
        assert_eq!((axis.at(1.0), axis.at(10.0)), (0.0, 10.0));
    }

    #[test]
    fn texts_are_escaped_and_colours_follow_the_reader() {
        let mut drawing = Drawing::new("a < b", 10.0, 20.0);
        drawing.text((1.0, 2.0), Anchor::Middle, "R&D");
        let svg = drawing.done();
        assert!(svg.contains("<title>a &lt; b</title>"), "{svg}");
        assert!(svg.contains(">R&amp;D</text>"), "{svg}");
        assert!(svg.contains("prefers-color-scheme:dark"), "{svg}");
        assert!(svg.contains(r#"viewBox="0 0 10 20""#), "{svg}");
    }
}
