//! The table at the end.

use std::time::Duration;

/// What was measured, in the order in which it was.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    to_reach: String,
    measured: String,
    met: Option<bool>,
}

impl Report {
    /// A figure that has to be reached.
    pub(crate) fn judge(
        &mut self,
        what: impl Into<String>,
        to_reach: impl Into<String>,
        measured: impl Into<String>,
        met: bool,
    ) {
        self.push(what.into(), to_reach.into(), measured.into(), Some(met));
    }

    /// Something worth knowing beside the figures.
    pub(crate) fn note(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.push(what.into(), String::new(), measured.into(), None);
    }

    /// Whether every figure was reached.
    pub(crate) fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.met != Some(false))
    }

    /// The table.
    pub(crate) fn print(&self) {
        let width = |cell: fn(&Row) -> &str, title: &str| {
            self.rows
                .iter()
                .map(|row| cell(row).chars().count())
                .chain([title.len()])
                .max()
                .unwrap_or(0)
        };
        let (what, to_reach, measured) = (
            width(|row| &row.what, "what"),
            width(|row| &row.to_reach, "to reach"),
            width(|row| &row.measured, "measured"),
        );
        println!(
            "{:what$} | {:to_reach$} | {:measured$} | verdict",
            "what", "to reach", "measured"
        );
        println!(
            "{:-<what$}-|-{:-<to_reach$}-|-{:-<measured$}-|--------",
            "", "", ""
        );
        for row in &self.rows {
            let verdict = row
                .met
                .map_or("", |met| if met { "reached" } else { "MISSED" });
            println!(
                "{:what$} | {:to_reach$} | {:measured$} | {verdict}",
                row.what, row.to_reach, row.measured
            );
        }
    }

    fn push(&mut self, what: String, to_reach: String, measured: String, met: Option<bool>) {
        eprintln!("    {what}: {measured}");
        self.rows.push(Row {
            what,
            to_reach,
            measured,
            met,
        });
    }
}

/// Says on standard error what is being done, so that minutes of measuring do not look like nothing.
pub(crate) fn progress(what: &str) {
    eprintln!("  {what}");
}

/// The smallest of the values that at least `per_cent` of them do not exceed.
///
/// # Panics
/// Without values there is none.
pub(crate) fn percentile(values: &[Duration], per_cent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// A duration as milliseconds, for the table.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// KiB as MiB, for the table.
pub(crate) fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Duration::from_millis(100));
        assert_eq!(percentile(&values, 99), Duration::from_millis(198));
        assert_eq!(percentile(&values, 100), Duration::from_millis(200));
        assert_eq!(percentile(&values[..1], 99), Duration::from_millis(200));
    }

    #[test]
    fn a_missed_figure_is_not_forgotten_and_a_note_is_none() {
        let mut report = Report::default();
        report.note("load", "high");
        report.judge("writes", "0", "0", true);
        assert!(report.all_met());
        report.judge("writes", "0", "1", false);
        report.judge("writes", "0", "0", true);
        assert!(!report.all_met());
    }
}
