//! Tables for people: a line under the header, no boxes.

use comfy_table::{CellAlignment, Table, TableComponent};

/// A table without borders and header.
pub(crate) fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table
}

/// A table with a line under its header.
pub(crate) fn with_header(names: &[&str]) -> Table {
    let mut table = plain();
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_header(names.to_vec());
    table
}

/// The table as text, numbers to the right, two spaces between columns, nothing after the end of a line.
pub(crate) fn right_aligned(mut table: Table, columns: &[usize]) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    lines.join("\n")
}
