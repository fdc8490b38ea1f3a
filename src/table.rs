//! Tables in plain text, for the terminal: a thin layer over `comfy-table` that puts numbers to the right.

use std::fmt;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle};

/// What stands in a cell without a value.
pub const NO_VALUE: &str = "–";

/// No lines but one below the headers.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Rows of cells under headers. Columns that hold nothing but numbers are aligned to the right.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row below the others.
    ///
    /// # Panics
    /// When there are not as many cells as headers.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.headers.len(), "a row needs one cell for each header");
        self.rows.push(cells);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.headers).add_rows(&self.rows);
        for (index, column) in table.column_iter_mut().enumerate() {
            if self.rows.iter().all(|row| is_number(&row[index])) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        formatter.write_str(&table.trim_fmt())
    }
}

/// Whether a cell is a number, a number with its spread or unit ("0.81 ± 0.03", "12 %"), or has no value.
fn is_number(cell: &str) -> bool {
    cell.split_whitespace().next().is_none_or(|word| word == NO_VALUE || word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(["fold", "cases", "Dice"]);
        table.row(["first", "8", "0.812 ± 0.034"]).row(["2", "12", NO_VALUE]);
        let expected = [
            " fold    cases            Dice",
            "───────────────────────────────",
            " first       8   0.812 ± 0.034",
            " 2          12               –",
        ]
        .join("\n");
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_without_rows_shows_its_headers() {
        assert!(Table::new(["subject", "file"]).to_string().starts_with(" subject   file\n───"));
    }

    #[test]
    #[should_panic(expected = "one cell for each header")]
    fn a_short_row_is_refused() {
        Table::new(["subject", "file"]).row(["sub-01"]);
    }
}
