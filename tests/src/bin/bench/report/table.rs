//! Markdown tables, aligned, so that a terminal shows them well. Pure.

/// With its head first and its numbers, all but the first column, to the right.
pub(crate) fn render(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in table.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let cell = if column == 0 {
                format!("| {cell:<width$} |")
            } else {
                format!(" {cell:>width$} |")
            };
            text.push_str(&cell);
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
        let cell = if column == 0 {
            format!(" {} |", "-".repeat(width))
        } else {
            format!(" {}: |", "-".repeat(width.saturating_sub(1)))
        };
        text.push_str(&cell);
    }
    text + "\n"
}

/// Cells of literals.
pub(crate) fn head<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A size in MiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of programs are far below 2^52"
)]
pub(crate) fn mebibytes(kib: u64, digits: usize) -> String {
    format!("{:.digits$}", kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = [head(["what", "µs"]), head(["a", "12345"])];
        let expected = "\
| what |    µs |
| ---- | ----: |
| a    | 12345 |
";
        assert_eq!(render(&table), expected);
    }
}
