//! From untyped to typed: what is wrong with an object, by field.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field's path, such as `spec.blocks[1].cidr`; empty where there is none.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// Whether the fault is that the kind, as far as we know, has no such field.
    pub(super) fn is_of_unknown_field(&self) -> bool {
        self.message == UNKNOWN
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// What an object became: our struct with what is worth telling all the same, or every reason why it is invalid.
pub(super) type Conversion<T> = Result<(T, Vec<Fault>), Vec<Fault>>;

/// Reads a typed object and lists the fields that its type does not have.
///
/// # Errors
///
/// The first field that is missing or of the wrong type.
pub(super) fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> Conversion<T> {
    let object: T = partly_typed(value).map_err(|fault| vec![fault])?;
    let mut unknown = vec![];
    if let Ok(known) = serde_json::to_value(&object) {
        list_unknown(value, &known, &mut String::new(), &mut unknown);
    }
    Ok((object, unknown))
}

/// Reads an object of which only a part is of interest; other fields are nobody's mistake.
///
/// # Errors
///
/// The first field that is missing or of the wrong type.
pub(super) fn partly_typed<T: DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    let mut corrected: Option<Value> = None;
    let mut corrections = 0;
    loop {
        let value = corrected.as_ref().unwrap_or(value);
        let error = match serde_path_to_error::deserialize(value) {
            Ok(object) => return Ok(object),
            Err(error) => error,
        };
        match with_boolean(value, &error) {
            Some(better) if corrections < MAX_CORRECTIONS => corrected = Some(better),
            _ => return Err(fault(error)),
        }
        corrections += 1;
    }
}

/// Each correction reads the object from its beginning, so there must not be as many as a large file may ask for.
const MAX_CORRECTIONS: usize = 100;

/// The value with a boolean where one is wanted and a word of YAML 1.1 stands for it, as `kubectl` reads `yes`.
fn with_boolean(
    value: &Value,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Option<Value> {
    if !error.inner().to_string().contains("expected a boolean") {
        return None;
    }
    let mut value = value.clone();
    let mut at = &mut value;
    for segment in error.path() {
        at = match segment {
            Segment::Map { key } => at.get_mut(key)?,
            Segment::Seq { index } => at.get_mut(*index)?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    let boolean = match at.as_str()? {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
        _ => return None,
    };
    *at = Value::Bool(boolean);
    Some(value)
}

fn fault(error: serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let path = error.path().to_string();
    let field = if path == "." { String::new() } else { path };
    let mut message = error.into_inner().to_string();
    if let Some(text) = message.strip_prefix("invalid type: string \"")
        && let Some((text, wanted)) = text.split_once("\", expected ")
        && (wanted == "a boolean" && matches!(text, "true" | "false")
            || matches!(wanted, "i32" | "i64" | "u8") && text.parse::<i64>().is_ok())
    {
        message.push_str("; write it without quotes");
    }
    if message.starts_with("invalid type: null") {
        message.push_str("; give it a value, or remove the field");
    }
    let wants_text = message.contains("expected a string") || message.contains("expected string");
    if wants_text
        && (message.contains("type: boolean")
            || message.contains("type: integer")
            || message.contains("type: floating"))
    {
        message.push_str("; write it in quotes");
    }
    Fault::new(field, message)
}

const UNKNOWN: &str =
    "there is no such field in this kind, so it has no effect: remove it or correct its name";

/// Whatever stands in `value` and did not survive being read: `known` is the read object, written again.
fn list_unknown(value: &Value, known: &Value, path: &mut String, unknown: &mut Vec<Fault>) {
    let length = path.len();
    match (value, known) {
        (Value::Object(fields), Value::Object(known)) => {
            for (key, field) in fields {
                if length == 0 && matches!(key.as_str(), "apiVersion" | "kind" | "status") {
                    continue;
                }
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                match known.get(key) {
                    Some(known) => list_unknown(field, known, path, unknown),
                    None => unknown.push(Fault::new(path.as_str(), UNKNOWN)),
                }
                path.truncate(length);
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, known)) in items.iter().zip(known).enumerate() {
                path.push_str(&format!("[{index}]"));
                list_unknown(item, known, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        let value =
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}, {"port": "http"}]}});
        let faults = typed::<Service>(&value).unwrap_err();
        assert_eq!(faults[0].field, "spec.ports[1].port");
        assert!(
            faults[0].message.contains("invalid type: string"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn a_bare_boolean_where_text_is_wanted_asks_for_quotes() {
        let value = json!({"metadata": {"name": "a", "annotations": {"x/y": true}}});
        let faults = typed::<Service>(&value).unwrap_err();
        assert_eq!(faults[0].field, "metadata.annotations.x/y");
        assert!(
            faults[0].message.ends_with("write it in quotes"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn unknown_fields_are_listed_at_any_depth_and_known_empty_ones_are_not() {
        let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": {}},
            "spec": {"externalTrafficPolcy": "Local", "ports": [{"port": 80, "proto": "TCP"}], "selector": {}, "externalIPs": []}});
        let (_, unknown) = typed::<Service>(&value).unwrap();
        let fields: Vec<_> = unknown.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["spec.externalTrafficPolcy", "spec.ports[0].proto"]);
    }
}
