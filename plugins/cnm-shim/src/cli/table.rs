//! Tables as Docker prints them: a head in capitals, columns three spaces apart. Pure.

/// What stands in a cell that is empty, so that columns can be counted.
const NOTHING: &str = "-";

/// A table.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) const fn new(head: [&'static str; N]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| {
            if cell.is_empty() {
                NOTHING.to_owned()
            } else {
                cell
            }
        }));
    }

    /// The table as text, or `empty` if it has no row.
    pub(super) fn text(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let head = self.head.map(str::to_owned);
        let all = || std::iter::once(&head).chain(&self.rows);
        let mut widths = [0; N];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in all() {
            let cells = row.iter().zip(widths);
            let padded: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(padded.join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "NAME", "WHY"]);
        table.row(["b984b19d26c9".into(), "red".into(), "busy".into()]);
        table.row(["1".into(), String::new(), String::new()]);
        let expected = "\
ID             NAME   WHY
b984b19d26c9   red    busy
1              -      -
";
        assert_eq!(table.text("nothing"), expected);
    }

    #[test]
    fn without_rows_it_says_so() {
        assert_eq!(Table::new(["ID"]).text("no networks"), "no networks\n");
    }
}
