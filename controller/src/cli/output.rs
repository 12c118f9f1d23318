//! How results look: tables as Cilium's tools draw them, JSON, YAML; and how they reach standard output.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use serde::Serialize as _;
use serde_json::Value;

use super::Failure;

/// Narrower cells are filled up to this.
const MINIMUM_WIDTH: usize = 5;
/// Blanks between columns.
const PADDING: usize = 3;

/// A head and rows of text cells, left-aligned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// Adds a row. Whatever its cells hold, they cannot steer a terminal.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| printable(cell.as_ref()))
                .collect(),
        );
    }

    /// Whether there is nothing below the head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut widths = vec![MINIMUM_WIDTH; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count() + PADDING);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}"));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `text` with everything that could steer a terminal or forge a line written as an escape.
pub(crate) fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            printed.extend(character.escape_unicode())
        } else {
            printed.push(character)
        }
    }
    printed
}

/// Control characters, and the marks that reorder or hide what stands beside them.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A duration as Go prints it, rounded to seconds: `0s`, `33m26s`, `1h0m5s`.
pub(crate) fn go_duration(nanoseconds: u64) -> String {
    let seconds =
        nanoseconds / 1_000_000_000 + u64::from(nanoseconds % 1_000_000_000 >= 500_000_000);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// An age as operators know it from kubectl: two units at most, fewer the older it is.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        (1..=9, _, _) => format!("{days}d{hours}h"),
        _ => format!("{days}d"),
    }
}

/// JSON indented by one blank, as Cilium's tools print it.
pub(crate) fn json(document: &Value) -> String {
    let mut octets = vec![];
    let form = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let written = document.serialize(&mut serde_json::Serializer::with_formatter(
        &mut octets,
        form,
    ));
    let text = match written {
        Ok(()) => String::from_utf8_lossy(&octets).into_owned(),
        // A document made of plain values cannot fail; should it ever, the compact form says the same.
        Err(_) => document.to_string(),
    };
    let mut safe = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // JSON itself escapes only what stands below the blank. Outside of strings there is nothing of this kind.
        if character != '\n' && steers(character) {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    safe
}

/// YAML.
///
/// # Errors
/// The document has no YAML form; none is known that has not.
pub(crate) fn yaml(document: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(document).map_err(|error| {
        Failure::Wrong(format!(
            "the answer cannot be written as YAML ({error}); use -o json"
        ))
    })?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    })
}

/// Whether whoever reads our output still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    /// Yes.
    Present,
    /// No: it closed the pipe, and that is no error (`fairway routes | head`).
    Gone,
}

/// Writes to standard output.
///
/// # Errors
/// It cannot be written to, for another reason than that the reader is gone.
pub(crate) fn print(text: &str) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::Unreachable(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

/// Writes one line to standard error; where that is impossible there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(
        io::stderr().lock(),
        "fairway: {}",
        printable(&text.replace(['\n', '\r'], " "))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_left_aligned_three_blanks_apart_and_five_wide_at_least() {
        let mut table = Table::new(&["A", "Long head", "Z"]);
        table.row(["1", "x", "end"]);
        table.row(["12345", "", ""]);
        assert_eq!(
            table.to_string(),
            "A       Long head   Z\n\
             1       x           end\n\
             12345\n"
        );
        let mut narrow = Table::new(&["A", "B"]);
        narrow.row(["1", "2"]);
        assert_eq!(narrow.to_string(), "A    B\n1    2\n");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal_or_forge_a_row() {
        let mut table = Table::new(&["Name"]);
        table.row(["a\u{1b}[2Jb\nc\u{9b}1m\u{202e}"]);
        assert_eq!(
            table.to_string(),
            "Name\na\\u{1b}[2Jb\\u{a}c\\u{9b}1m\\u{202e}\n"
        );
    }

    #[test]
    fn durations_look_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (499_999_999, "0s"),
            (1_500_000_000, "2s"),
            (2_006_000_000_000, "33m26s"),
            (3_605_000_000_000, "1h0m5s"),
            (360_000_000_000_000, "100h0m0s"),
            (60_000_000_000, "1m0s"),
        ] {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }

    #[test]
    fn ages_get_coarser_as_they_grow() {
        for (seconds, text) in [
            (7, "7s"),
            (67, "1m7s"),
            (3_700, "1h1m"),
            (90_000, "1d1h"),
            (90_000 * 20, "20d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn json_is_indented_by_one_blank_and_means_the_same_after_escaping() {
        let document = serde_json::json!({"b": [], "a": [{"x": "\u{9b}31m\u{1b}"}], "e": {}});
        let text = json(&document);
        assert_eq!(
            text,
            "{\n \"b\": [],\n \"a\": [\n  {\n   \"x\": \"\\u009b31m\\u001b\"\n  }\n ],\n \"e\": {}\n}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }

    #[test]
    fn yaml_keeps_texts_that_look_like_something_else_and_no_control_character() {
        let document = serde_json::json!({
            "texts": ["yes", "1e3", "0x10", "null", "~", "", " a", "a: b", "#x", "- y", "1.20", "65000:99", "on", "2024-01-01"],
            "text": "a\u{1b}[2J\u{9b}b", "number": 5, "lines": "a\nb\n", "empty": [], "nothing": {}
        });
        let text = yaml(&document).unwrap();
        assert!(
            !text
                .chars()
                .any(|character| character != '\n' && character.is_control()),
            "{text:?}"
        );
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, document, "{text}");
    }
}
