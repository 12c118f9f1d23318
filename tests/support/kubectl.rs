//! kubectl: the operator's hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::place::Place;
use crate::process::text;

/// kubectl with the rights of one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    place: Place,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// `program` with `kubeconfig`, run at `place`.
    pub fn new(program: &Path, place: &Place, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            place: place.clone(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// The same with other rights, or through another door.
    #[must_use]
    pub fn with(&self, kubeconfig: &Path) -> Self {
        Self::new(&self.program, &self.place, kubeconfig)
    }

    /// Runs it to its end, with `input` on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        self.place.inside(|| {
            let mut child = Command::new(&self.program)
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args(arguments)
                // What it remembers of the API server must not be what another lab's was like.
                .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.program.display()));
            let mut pipe = child.stdin.take().expect("its input is a pipe");
            std::thread::scope(|scope| {
                // Beside the reading of its output, or each could wait for the other. A command that reads no input may be
                // gone before it could.
                scope.spawn(move || pipe.write_all(input.as_bytes()));
                child.wait_with_output().expect("kubectl ends")
            })
        })
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// What it complained about.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let output = self.run(arguments, input);
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!(
                "kubectl {}: {}",
                arguments.join(" "),
                text(&output.stderr)
            ))
        }
    }

    /// Runs it and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> String {
        self.ask(arguments, "")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// `kubectl apply` of manifests.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        self.ask(&["apply", "-f", "-"], manifests)
            .unwrap_or_else(|error| panic!("{error}\n{manifests}"));
    }

    /// What it prints as JSON (`-o json` is added).
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.call(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| {
            panic!("kubectl {arguments:?} printed no JSON ({error}): {printed}")
        })
    }
}
