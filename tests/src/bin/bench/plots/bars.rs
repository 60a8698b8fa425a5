//! Bars over a logarithmic axis, with marks. Pure.

use super::svg::{Anchor, Axis, Colour, Drawing, number};

/// A value, and what was aimed at.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) mark: Option<f64>,
}

const WIDTH: f64 = 780.0;
const LEFT: f64 = 360.0;
const RIGHT: f64 = WIDTH - 64.0;
const TOP: f64 = 44.0;
const STEP: f64 = 18.0;
const THICK: f64 = 11.0;

/// The file.
pub(super) fn draw(title: &str, bars: &[Bar]) -> String {
    let row = |index: usize| TOP + STEP * f64::from(u32::try_from(index).unwrap_or(0));
    let bottom = row(bars.len());
    let mut drawing = Drawing::new(title, WIDTH, bottom + 28.0);
    drawing.text((16.0, 20.0), Anchor::Start, title);
    let values = bars.iter().flat_map(|bar| [bar.value, 1.0]);
    let axis = Axis::around(values, (LEFT, RIGHT));
    for tick in axis.ticks() {
        let x = axis.at(tick);
        drawing.line(Colour::Faint, (x, TOP - 6.0), (x, bottom));
        drawing.text((x, bottom + 16.0), Anchor::Middle, &number(tick));
    }
    for (index, bar) in bars.iter().enumerate() {
        let (y, end) = (row(index), axis.at(bar.value));
        drawing.text((LEFT - 8.0, y + 10.0), Anchor::End, &bar.name);
        drawing.bar(Colour::Ours, (LEFT, y), (end - LEFT, THICK));
        let mut beside = end;
        if let Some(mark) = bar.mark {
            let x = axis.at(mark);
            drawing.bar(Colour::Ink, (x - 1.0, y - 3.0), (2.0, THICK + 6.0));
            beside = beside.max(x);
        }
        let label = number(significant(bar.value));
        drawing.text((beside + 6.0, y + 10.0), Anchor::Start, &label);
    }
    drawing.done()
}

/// Two digits of it.
fn significant(value: f64) -> f64 {
    let scale = 10_f64.powf(1.0 - value.log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_marks_end_at_their_values() {
        let bars = [
            Bar {
                name: "ADD".into(),
                value: 0.1,
                mark: Some(0.01),
            },
            Bar {
                name: "DEL".into(),
                value: 0.0123,
                mark: None,
            },
        ];
        let svg = draw("ratios", &bars);
        // Two decades are 356 pixels.
        assert!(
            svg.contains(r#"class="ours" x="360.0" y="44.0" width="178.0""#),
            "{svg}"
        );
        assert!(svg.contains(r#"class="ink" x="359.0" y="41.0""#), "{svg}");
        assert!(svg.contains(">0.012</text>"), "{svg}");
        assert_eq!(svg.matches(r#"class="ink""#).count(), 1);
    }

    #[test]
    fn two_digits_are_enough() {
        let texts = [0.0312, 1.26, 12.4, 0.000_996].map(|value| number(significant(value)));
        assert_eq!(texts, ["0.031", "1.3", "12", "0.001"]);
    }
}
