//! YAML text -> untyped documents, each with the line of every node.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error, Spanned, alias_limits, budget, options};

use crate::cluster::Lines;

/// Why a file cannot be read as YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1; 0 where there is none.
    pub(super) line: u64,
    /// In one line, without any of the file's text around it (which may be secret).
    pub(super) message: String,
}

/// What [`read`] may need of the stack: its recursion is as deep as the document's nesting.
pub(super) const STACK: usize = 16 << 20;

/// Reads all documents of a text: YAML 1.2, and with it JSON. Empty documents are left out.
///
/// Bounded: 64 levels of nesting, two million nodes, 200,000 of what they hold by way of aliases. Needs [`STACK`].
pub(super) fn read(text: &str) -> Result<Vec<(Value, Lines)>, SyntaxError> {
    let options = options! {
        budget: budget! {
            max_documents: 100_000,
            max_nodes: 2_000_000,
            max_events: 5_000_000,
            max_depth: 64,
            max_recorded_anchor_events: 200_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: alias_limits! { max_total_replayed_events: 200_000 },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let documents: Vec<Option<Spanned<Node>>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            SyntaxError {
                line,
                message: describe(error.without_snippet(), line, text),
            }
        })?;
    Ok(documents.into_iter().flatten().map(Node::split).collect())
}

/// The error in one line; the place is told beside it.
fn describe(error: &Error, line: u64, text: &str) -> String {
    // The parser may notice a brace only on the next line. Elsewhere braces are text, as in a dashboard.
    let mut nearby = text
        .lines()
        .skip(
            usize::try_from(line)
                .unwrap_or(usize::MAX)
                .saturating_sub(2),
        )
        .take(2);
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is there twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice".to_owned(),
        Error::AliasError { .. } | Error::Budget { .. } => {
            "more nesting, size or aliases than is read: 64 levels, two million values, 200,000 of them by aliases".to_owned()
        }
        _ if nearby.any(|line| line.contains("{{")) => "no YAML as it stands, but it looks like a template: give what it renders to".to_owned(),
        error => {
            let text = error.to_string();
            let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
            match text.split_once(" at line ") {
                Some((message, _)) => message.to_owned(),
                None => text,
            }
        }
    }
}

/// A node of a document with the places of all below it.
enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(String, Spanned<Self>)>),
}

impl Node {
    /// Value and lines apart.
    fn split(node: Spanned<Self>) -> (Value, Lines) {
        let line = u32::try_from(node.referenced.line()).unwrap_or(u32::MAX);
        match node.value {
            Self::Scalar(value) => (
                value,
                Lines {
                    line,
                    below: vec![],
                },
            ),
            Self::Sequence(items) => {
                let (mut values, mut below) = (vec![], vec![]);
                for (index, item) in items.into_iter().enumerate() {
                    let (value, lines) = Self::split(item);
                    values.push(value);
                    below.push((format!("[{index}]").into(), lines));
                }
                (Value::Array(values), Lines { line, below })
            }
            Self::Mapping(entries) => {
                let (mut values, mut below) = (Map::new(), vec![]);
                for (key, entry) in entries {
                    let (value, lines) = Self::split(entry);
                    below.push((key.as_str().into(), lines));
                    values.insert(key, value);
                }
                (Value::Object(values), Lines { line, below })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML node")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // JSON has no infinity; the objects we read have no field for one either.
        Ok(Node::Scalar(Number::from_f64(value).map_or_else(
            || Value::String(value.to_string()),
            Value::Number,
        )))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }
    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = vec![];
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<(Value, Lines)>, SyntaxError> {
        let text = text.to_owned();
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || super::read(&text))
            .unwrap()
            .join()
            .unwrap()
    }

    #[test]
    fn documents_are_read_with_the_line_of_every_field() {
        let text = "# first\napiVersion: v1\nkind: Node\nmetadata:\n  name: a\n---\n---\n# nothing\n---\nspec:\n  blocks:\n    - cidr: \"10.0.0.0/24\"\n    - start: 10.0.1.1\n      stop: 10.0.1.9\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(
            documents[0].0,
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}})
        );
        let lines = &documents[1].1;
        assert_eq!(lines.of(""), 10);
        assert_eq!(lines.of("spec.blocks[0].cidr"), 12);
        assert_eq!(lines.of("spec.blocks[1].stop"), 14);
        assert_eq!(lines.of("spec.blocks[1].mask"), 13);
    }

    #[test]
    fn no_and_yes_are_text_whether_quoted_or_not() {
        let (value, _) =
            &read("a: No\nb: \"No\"\nc: yes\nd: true\ne: on\nf: ~\ng: 010\n").unwrap()[0];
        assert_eq!(
            *value,
            json!({"a": "No", "b": "No", "c": "yes", "d": true, "e": "on", "f": null, "g": "010"})
        );
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let text = "base: &base\n  port: 80\n  protocol: TCP\nports:\n  - <<: *base\n    name: http\n  - *base\n";
        let (value, lines) = &read(text).unwrap()[0];
        assert_eq!(
            value["ports"],
            json!([{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}])
        );
        assert_eq!(lines.of("ports[0].name"), 6);
    }

    #[test]
    fn json_is_read_too() {
        let (value, lines) = &read("{\n  \"kind\": \"Node\",\n\t\"metadata\": {\"name\": \"a\", \"x\": [1, -2, 1.5, null]}\n}\n").unwrap()[0];
        assert_eq!(
            value["metadata"],
            json!({"name": "a", "x": [1, -2, 1.5, null]})
        );
        assert_eq!(lines.of("metadata.name"), 3);
    }

    #[test]
    fn errors_name_the_line_and_quote_nothing() {
        for (text, line) in [
            ("a: 1\nb: [1, 2\nc: 3\n", 3),
            ("password: s3cr3t\npassword: s3cr3t\n", 2),
            ("a: s3cr3t\n b: s3cr3t\n", 2),
            ("a: *s3cr3tless\n", 1),
            ("spec:\n  blocks:\n\t- cidr: x\n", 3),
            ("{{ if .Values.s3cr3t }}\nx: y\n{{ end }}", 0),
            ("a: \"s3cr3t\n", 0),
        ] {
            let error = read(text).unwrap_err();
            assert!(line == 0 || error.line == line, "{text:?}: {error:?}");
            assert!(error.line > 0, "{text:?}: {error:?}");
            assert!(
                !error.message.contains("s3cr3t\"") && !error.message.contains('\n'),
                "{text:?}: {error:?}"
            );
        }
    }

    #[test]
    fn an_alias_bomb_ends_early() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![alias; 10].join(", ")
            ));
        }
        assert!(read(&text).is_err());
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
        assert!(read("a: &a {b: *a}\n").is_err());
        let nested: String = (0..500)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        assert!(read(&nested).is_err());
    }
}
