//! What all showing commands share: ask, select, draw; and again on every change with `-w`.

use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use crate::args::{OutputFormat, ViewArgs};

use super::client::{Answer, Client};
use super::output::{self, Reader};
use super::{Failure, Outcome};

/// On a terminal the durations in a table go on counting.
const REDRAW: Duration = Duration::from_secs(1);
/// Between two attempts while a watched Fairway is away.
const RETRY: Duration = Duration::from_millis(500);
/// Cursor to the upper left, clear from there.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// A table, and what does not fit into its columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawn {
    /// For standard output.
    pub(crate) text: String,
    /// For standard error: one line each.
    pub(crate) notes: Vec<String>,
    /// For standard error where Fairway itself has nothing to remark.
    pub(crate) hint: Option<String>,
}

/// One thing to show.
pub(crate) trait Subject {
    /// Where the local API has it.
    fn path(&self) -> String;
    /// Where the local API has what else whoever looks at the table should know: a list of texts, or of problems.
    fn remarks(&self) -> &'static str;
    /// The part of the answer that was asked for.
    ///
    /// # Errors
    /// The answer does not have the expected shape.
    fn select(&self, document: Value) -> Result<Value, Failure>;
    /// The selected part as a table.
    ///
    /// # Errors
    /// It does not have the expected shape.
    fn draw(&self, document: &Value, now: Timestamp) -> Result<Drawn, Failure>;
}

/// Shows a subject as `view` says.
pub(crate) async fn show(view: &ViewArgs, subject: &impl Subject) -> Outcome {
    let client = Client::new(view.api.as_deref())?;
    let path = subject.path();
    let mut answer = client.fetch(&path).await?;
    let terminal = std::io::stdout().is_terminal();
    let mut first = true;
    loop {
        let mut drawn = form(view.output, subject, std::mem::take(&mut answer.document))?;
        if view.output == OutputFormat::Table {
            let remarks = remarks(&client, subject.remarks()).await;
            let hint = drawn.hint.take().filter(|_| remarks.is_empty());
            drawn.notes.extend(remarks.into_iter().chain(hint));
        }
        if present(&drawn, view.watch, terminal, first)? == Reader::Gone || !view.watch {
            return Ok(());
        }
        first = false;
        answer = next(&client, &path, answer.version, view.output, terminal).await?;
    }
}

fn form(format: OutputFormat, subject: &impl Subject, document: Value) -> Result<Drawn, Failure> {
    let selected = subject.select(document)?;
    match format {
        OutputFormat::Table => subject.draw(&selected, Timestamp::now()),
        OutputFormat::Json => Ok(Drawn {
            text: output::json(&selected),
            ..Drawn::default()
        }),
        OutputFormat::Yaml => Ok(Drawn {
            text: output::yaml(&selected)?,
            ..Drawn::default()
        }),
    }
}

/// They are an extra: where they cannot be had, the table stands alone.
async fn remarks(client: &Client, path: &str) -> Vec<String> {
    let Ok(Answer {
        document: Value::Array(remarks),
        ..
    }) = client.fetch(path).await
    else {
        return vec![];
    };
    remarks
        .iter()
        .map(remark)
        .filter(|text| !text.is_empty())
        .collect()
}

/// A text, or a problem: `pool.yaml:7: CiliumLoadBalancerIPPool lan: spec.blocks[0].cidr: not a prefix`.
fn remark(remark: &Value) -> String {
    if let Some(text) = remark.as_str() {
        return text.to_owned();
    }
    let parts = ["place", "object", "field", "message"]
        .map(|part| remark[part].as_str().unwrap_or_default());
    let mut text = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    if remark["lastValidInForce"] == true {
        text.push_str(" (the last valid version stays in force)");
    }
    text
}

fn present(drawn: &Drawn, watch: bool, terminal: bool, first: bool) -> Result<Reader, Failure> {
    if watch && terminal {
        let notes: String = drawn
            .notes
            .iter()
            .map(|note| format!("{}\n", output::printable(note)))
            .collect();
        return output::print(&format!("{CLEAR}{}{notes}", drawn.text));
    }
    // Watched into a pipe or a file: one block after the other, a blank line between them.
    let gap = if first { "" } else { "\n" };
    let reader = output::print(&format!("{gap}{}", drawn.text))?;
    for note in &drawn.notes {
        output::complain(note);
    }
    Ok(reader)
}

/// The next state worth drawing. A Fairway that goes away under a watch is waited for: it may be upgraded just now.
async fn next(
    client: &Client,
    path: &str,
    version: Option<String>,
    format: OutputFormat,
    terminal: bool,
) -> Result<Answer, Failure> {
    let counting = terminal && format == OutputFormat::Table;
    let mut away = false;
    loop {
        let asked = match &version {
            Some(version) if !away => {
                let idle = if counting { REDRAW } else { Duration::MAX };
                tokio::select! {
                    changed = client.changed(path, version) => changed,
                    () = sleep(idle) => client.fetch(path).await,
                }
            }
            _ => {
                sleep(RETRY).await;
                client.fetch(path).await
            }
        };
        match asked {
            // A long poll that ran out without a change has nothing to show, except to who watches the clock.
            Ok(answer) if !away && !counting && version.is_some() && answer.version == version => {}
            Ok(answer) => return Ok(answer),
            Err(failure @ Failure::Unreachable(_)) => {
                if !away {
                    output::complain(&format!("{failure} (waiting for it)"));
                }
                away = true;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// The failure for an answer of an unexpected shape.
pub(crate) fn misshapen(what: &str, error: &serde_json::Error) -> Failure {
    Failure::Unreachable(format!(
        "what fairway says about {what} is not understood ({error}); is it of another version?"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn remarks_are_texts_or_problems() {
        assert_eq!(
            remark(&json!("no policy selects this node")),
            "no policy selects this node"
        );
        assert_eq!(
            remark(
                &json!({"object": "CiliumLoadBalancerIPPool lan", "place": "pool.yaml:7", "field": "spec.blocks[0].cidr",
                "message": "not a prefix", "lastValidInForce": true})
            ),
            "pool.yaml:7: CiliumLoadBalancerIPPool lan: spec.blocks[0].cidr: not a prefix (the last valid version stays in force)"
        );
        assert_eq!(
            remark(&json!({"object": "", "place": null, "message": "x"})),
            "x"
        );
    }
}
