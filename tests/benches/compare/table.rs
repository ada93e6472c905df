//! Samples become medians, and medians a table that can be pasted into a README.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::stack::SUBJECT;

/// The outcome of one stack in one measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) stack: &'static str,
    /// A median a column, or what went wrong.
    pub(crate) outcome: Result<Vec<f64>, String>,
}

/// The outcome of one measurement, or on one link.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// Columns in which stacks are compared with Adit.
    pub(crate) compared: &'static [usize],
    pub(crate) rows: Vec<Row>,
}

/// Medians of each column over all rounds; one failed round fails the stack.
pub(crate) fn medians(rounds: Vec<anyhow::Result<Vec<f64>>>) -> Result<Vec<f64>, String> {
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for (number, round) in (1..).zip(rounds) {
        let numbers = round.map_err(|error| format!("round {number}: {error:#}"))?;
        columns.resize(numbers.len(), Vec::new());
        for (column, number) in columns.iter_mut().zip(numbers) {
            column.push(number);
        }
    }
    Ok(columns.into_iter().map(median).collect())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => numbers[length / 2],
        length => f64::midpoint(numbers[length / 2 - 1], numbers[length / 2]),
    }
}

impl Outcome {
    /// As text. The last columns say what Adit's number is of each stack's.
    pub(crate) fn table(&self) -> String {
        let mut header = vec!["stack".to_owned()];
        header.extend(self.columns.iter().map(ToString::to_string));
        header.extend(
            self.compared.iter().map(|column| format!("{SUBJECT} / this: {}", self.columns[*column])),
        );
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for row in &self.rows {
            table.add_row(self.cells(row));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}: {}\n\n{table}\n", self.name, self.title)
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let mut cells = vec![row.stack.to_owned()];
        match &row.outcome {
            Ok(numbers) => {
                cells.extend(numbers.iter().map(|number| readable(*number)));
                let ours = self.rows.iter().find(|row| row.stack == SUBJECT);
                let ours = ours.and_then(|row| row.outcome.as_ref().ok());
                let ratio = |column: &usize| match ours {
                    Some(ours) => format!("{:.2}", ours[*column] / numbers[*column]),
                    None => "-".to_owned(),
                };
                cells.extend(self.compared.iter().map(ratio));
            }
            Err(reason) => {
                eprintln!("{}: {} failed: {reason}", self.name, row.stack);
                cells.extend(vec!["failed".to_owned(); self.columns.len() + self.compared.len()]);
            }
        }
        cells
    }
}

/// Three digits that say something.
fn readable(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
