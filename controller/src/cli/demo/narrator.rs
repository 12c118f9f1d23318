//! Tells the story: headings, sentences, tables, within a hundred columns.

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::time::sleep;

use crate::cli::output::{self, Reader};

use super::network::Network;
use super::story::Ended;
use super::{Failure, process};

/// Between two chapters, for whoever reads along.
const PAUSE: Duration = Duration::from_secs(3);
/// Columns of a line.
const WIDTH: usize = 96;
/// Blanks before a sentence.
const INDENT: usize = 3;

/// Writes the story to standard output.
#[derive(Debug)]
pub(super) struct Narrator {
    bold: bool,
    pause: Option<Duration>,
    chapter: u32,
}

impl Narrator {
    /// Pauses between chapters only for a reader at a terminal, and not where the story is to be over soon (`once`).
    pub(super) fn new(once: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            bold: terminal,
            pause: (terminal && !once).then_some(PAUSE),
            chapter: 0,
        }
    }

    /// The first line of all.
    pub(super) fn title(&self, text: &str) -> Result<(), Ended> {
        self.write(&format!("{}\n\n", self.strong(text)))
    }

    /// Begins a chapter.
    pub(super) async fn chapter(&mut self, text: &str) -> Result<(), Ended> {
        if let Some(pause) = self.pause.filter(|_| self.chapter > 0) {
            sleep(pause).await;
        }
        self.chapter += 1;
        self.write(&format!(
            "\n{}\n",
            self.strong(&format!("{}. {text}", self.chapter))
        ))
    }

    /// A paragraph, broken into lines.
    pub(super) fn say(&self, paragraph: &str) -> Result<(), Ended> {
        self.write(&wrapped(paragraph, &" ".repeat(INDENT)))
    }

    /// A paragraph after something that was shown.
    pub(super) fn go_on(&self, paragraph: &str) -> Result<(), Ended> {
        self.write("\n")?;
        self.say(paragraph)
    }

    /// Lines that stay as they are.
    pub(super) fn list(&self, lines: &[String]) -> Result<(), Ended> {
        self.write(
            &lines
                .iter()
                .map(|line| format!("{:INDENT$}{line}\n", ""))
                .collect::<String>(),
        )
    }

    /// Something to look at.
    pub(super) fn show(&self, text: &str) -> Result<(), Ended> {
        let lines: String = text.lines().map(|line| format!("      {line}\n")).collect();
        self.write(&format!("\n{lines}"))
    }

    /// What can be tried while the network stays up.
    pub(super) fn stay(&self, network: &Network) -> Result<(), Failure> {
        let Some(node) = network.nodes.first() else {
            return Ok(());
        };
        let program = program();
        let api = node.socket.display();
        let mut lines = vec![
            format!("{program} peers --api {api}"),
            format!("{program} routes advertised --api {api}"),
            format!("{program} services -w --api {api}"),
            format!("{program} pools -o yaml --api {api}"),
        ];
        lines.extend(
            network
                .router
                .try_this()
                .map(|command| network.place.enter() + &command),
        );
        let lines: String = lines.iter().map(|line| format!("   {line}\n")).collect();
        let text = format!(
            "\n{}\n{lines}\n{}   Ctrl-C ends it all.\n",
            self.strong("It all stays up now. Try:"),
            wrapped(
                &format!(
                    "Edit the manifests in {} and see what follows; the nodes' logs are beside them.",
                    network.manifests().display()
                ),
                &" ".repeat(INDENT)
            )
        );
        // Where nobody reads, nobody misses it; the network stays up all the same.
        output::print(&text).map(|_| ())
    }

    /// What the processes said last, after something did not come true.
    pub(super) fn confess(&self, network: &Network) {
        for (name, log) in network
            .nodes
            .iter()
            .map(|node| (node.name, &node.log))
            .chain(network.router.log())
        {
            for line in process::tail(log) {
                output::complain(&format!("[{name}] {line}"));
            }
        }
    }

    fn strong(&self, text: &str) -> String {
        if self.bold {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn write(&self, text: &str) -> Result<(), Ended> {
        match output::print(text)? {
            Reader::Present => Ok(()),
            Reader::Gone => Err(Ended::NobodyListens),
        }
    }
}

fn wrapped(paragraph: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut line = indent.to_owned();
    for word in paragraph.split_whitespace() {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + &line + "\n"
}

/// How this program was called, so that what is printed can be pasted.
fn program() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| "fairway".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_break_between_words_within_the_width() {
        let text = wrapped(&"word ".repeat(40), "   ");
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.starts_with("   word")
            && line.len() <= WIDTH
            && !line.ends_with(' ')));
        assert_eq!(wrapped("one", "   "), "   one\n");
    }
}
