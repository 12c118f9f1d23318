//! Manifests, taken apart: what is written in files, document by document, and what the API server should say to each.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::server::{Said, Server};

/// One object of a file.
#[derive(Clone)]
pub(crate) struct Document {
    /// Where it stands, for who has to look.
    pub(crate) place: String,
    /// As it is written.
    pub(crate) text: String,
    /// What it means.
    pub(crate) value: Value,
    /// A part of what the API server says when it refuses it; `None`: it is accepted.
    pub(crate) refused: Option<String>,
    /// `v2alpha1` has fewer rules.
    accepted_as_v2alpha1: bool,
}

impl Document {
    /// An object that is accepted or not.
    pub(crate) fn of_value(place: String, value: Value, refused: Option<String>) -> Self {
        Self {
            place,
            text: value.to_string(),
            value,
            refused,
            accepted_as_v2alpha1: false,
        }
    }

    /// Whether the definitions of Fairway have its kind.
    pub(crate) fn is_ours(&self) -> bool {
        let kind = self.value["kind"].as_str().unwrap_or_default();
        let version = self.value["apiVersion"].as_str().unwrap_or_default();
        version.starts_with("cilium.io/") && !["CiliumNode", "CiliumPodIPPool"].contains(&kind)
    }

    /// Itself and, of a kind that has two versions, the same in the other one.
    fn in_every_version(self) -> Vec<Self> {
        const V2: &str = "apiVersion: cilium.io/v2\n";
        if !self.text.contains(V2) {
            return vec![self];
        }
        let mut older = self.clone();
        older.text = self.text.replace(V2, "apiVersion: cilium.io/v2alpha1\n");
        older.place.push_str(" as v2alpha1");
        if self.accepted_as_v2alpha1 {
            older.refused = None;
        }
        vec![self, older]
    }
}

/// The documents of all files of a folder of `tests/crds`, each in every version that its kind has.
pub(crate) fn corpus(folder: &str) -> Vec<Document> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/crds")
        .join(folder);
    let files = yaml_files(&folder);
    let documents = files.iter().flat_map(|file| documents(file));
    documents.flat_map(Document::in_every_version).collect()
}

/// The documents of a file.
pub(crate) fn documents(file: &Path) -> Vec<Document> {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy();
    let mut line = 1;
    let mut documents = vec![];
    for part in text.split("---\n") {
        let place = format!("{name}:{line}");
        line += part.lines().count() + 1;
        let comment = |start: &str| part.lines().find_map(|line| line.strip_prefix(start));
        documents.push(Document {
            value: serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{place}: {error}")),
            place,
            text: part.to_owned(),
            refused: comment("# refused: ").map(str::to_owned),
            accepted_as_v2alpha1: comment("# accepted as v2alpha1").is_some(),
        });
    }
    documents
}

/// The YAML files of a folder, by name.
pub(crate) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

/// Gives all documents to the API server, which keeps none of them, and lists what it said otherwise than expected. Fields
/// that a schema does not know are an error.
pub(crate) fn surprises(server: &Server, documents: &[Document]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (index, document) in documents.iter().enumerate() {
        fs::write(folder.path().join(file_name(index)), &document.text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let words = ["apply", "--dry-run=server", "--validate=strict", "-f", path];
    let Said { out, err, .. } = server.kubectl(&words, "");
    let mut surprises = vec![];
    let mut accepted = 0;
    for (index, document) in documents.iter().enumerate() {
        let file = format!("/{}\"", file_name(index));
        let said = err.lines().find(|line| line.contains(&file));
        accepted += usize::from(said.is_none());
        match (&document.refused, said) {
            (None, None) => {}
            (Some(expected), Some(said)) if said.contains(expected) => {}
            (expected, said) => surprises.push(format!(
                "{}: expected {}\n    and got {}",
                document.place,
                expected.as_deref().unwrap_or("acceptance"),
                said.unwrap_or("acceptance"),
            )),
        }
    }
    // What was not refused must really have been accepted, and without a warning.
    if out.lines().count() != accepted {
        surprises.push(format!(
            "{accepted} were not refused, but accepted were:\n{out}"
        ));
    }
    let about_files = |line: &&str| !line.contains("error when creating");
    surprises.extend(err.lines().filter(about_files).map(str::to_owned));
    surprises
}

fn file_name(index: usize) -> String {
    format!("document-{index}.yaml")
}
