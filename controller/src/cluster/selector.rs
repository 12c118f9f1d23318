//! Label selectors: the structured form of the API and the text form of annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Fault, Labels};

/// A valid Kubernetes LabelSelector. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// All must hold; `matchLabels` are `In` with one value.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of the values.
    In(String, Vec<String>),
    /// The label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    DoesNotExist(String),
}

impl Selector {
    /// Whether all requirements hold.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether all requirements hold for labels that `label` looks up: for objects whose labels are not one map.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let one_of = |values: &[String], value: &str| values.iter().any(|wanted| wanted == value);
        self.requirements
            .iter()
            .all(|requirement| match requirement {
                Requirement::In(key, values) => {
                    label(key).is_some_and(|value| one_of(values, value))
                }
                Requirement::NotIn(key, values) => {
                    label(key).is_none_or(|value| !one_of(values, value))
                }
                Requirement::Exists(key) => label(key).is_some(),
                Requirement::DoesNotExist(key) => label(key).is_none(),
            })
    }

    /// Takes the API's form; `field` is where it stands.
    ///
    /// # Errors
    ///
    /// The first fault: an unknown operator, values where there must be none or none where there must be some, a key or
    /// value that no label can have.
    pub fn convert(selector: &LabelSelector, field: &str) -> Result<Self, Fault> {
        let mut requirements = vec![];
        for (key, value) in selector.match_labels.iter().flatten() {
            let field = || format!("{field}.matchLabels.{key}");
            check_label_key(key).map_err(|reason| Fault::new(field(), reason))?;
            check_label_value(value).map_err(|reason| Fault::new(field(), reason))?;
            requirements.push(Requirement::In(key.clone(), vec![value.clone()]));
        }
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let field = |name: &str| format!("{field}.matchExpressions[{index}]{name}");
            check_label_key(&expression.key).map_err(|reason| Fault::new(field(".key"), reason))?;
            let key = expression.key.clone();
            let values = expression.values.clone().unwrap_or_default();
            for value in &values {
                check_label_value(value).map_err(|reason| Fault::new(field(".values"), reason))?;
            }
            let operator = expression.operator.as_str();
            requirements.push(match (operator, values.is_empty()) {
                ("In" | "NotIn", true) => {
                    return Err(Fault::new(
                        field(".values"),
                        format!("{operator} needs at least one value"),
                    ));
                }
                ("In", false) => Requirement::In(key, values),
                ("NotIn", false) => Requirement::NotIn(key, values),
                ("Exists", true) => Requirement::Exists(key),
                ("DoesNotExist", true) => Requirement::DoesNotExist(key),
                ("Exists" | "DoesNotExist", false) => {
                    return Err(Fault::new(
                        field(".values"),
                        format!("{operator} takes no values: remove them"),
                    ));
                }
                _ => {
                    let reason = format!(
                        "{operator:?} is no operator: write In, NotIn, Exists or DoesNotExist"
                    );
                    return Err(Fault::new(field(".operator"), reason));
                }
            });
        }
        Ok(Self { requirements })
    }

    /// Takes the text form: `a=b,c in (d,e),!f`. The empty text matches everything.
    ///
    /// # Errors
    ///
    /// What cannot be read, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = vec![];
        for part in split_requirements(text)? {
            requirements.push(parse_requirement(part)?);
        }
        Ok(Self { requirements })
    }
}

/// For people: the text form that [`Selector::parse`] reads.
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values[0])?
                }
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values[0])?
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Splits at the commas that stand outside parentheses.
fn split_requirements(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Ok(vec![]);
    }
    let (mut parts, mut start, mut inside) = (vec![], 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' if inside => return Err(format!("{text:?}: a parenthesis inside parentheses")),
            '(' => inside = true,
            ')' if !inside => {
                return Err(format!(
                    "{text:?}: a parenthesis is closed that was not opened"
                ));
            }
            ')' => inside = false,
            ',' if !inside => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("{text:?}: a parenthesis is not closed"));
    }
    parts.push(text[start..].trim());
    Ok(parts)
}

fn parse_requirement(part: &str) -> Result<Requirement, String> {
    let key = |text: &str| -> Result<String, String> {
        let text = text.trim();
        check_label_key(text).map(|()| text.to_owned())
    };
    let value = |text: &str| -> Result<String, String> {
        let text = text.trim();
        check_label_value(text).map(|()| text.to_owned())
    };
    if let Some(absent) = part.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(key(absent)?));
    }
    if let Some((set, values)) = part.split_once('(') {
        let values = values
            .strip_suffix(')')
            .ok_or_else(|| format!("{part:?}: nothing may follow the parenthesis"))?;
        let values = values
            .split(',')
            .map(value)
            .collect::<Result<Vec<_>, _>>()?;
        let mut words = set.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(name), Some("in"), None) => Ok(Requirement::In(key(name)?, values)),
            (Some(name), Some("notin"), None) => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(format!(
                "{part:?}: write `key in (a,b)` or `key notin (a,b)`"
            )),
        };
    }
    if let Some((name, unwanted)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value(unwanted)?]));
    }
    if let Some((name, wanted)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key(name)?, vec![value(wanted)?]));
    }
    Ok(Requirement::Exists(key(part)?))
}

/// A label's key: a name of at most 63 characters, before it perhaps a DNS subdomain and `/`.
pub(super) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_none_or(|prefix| super::meta::check_name(prefix).is_ok())
        && !name.is_empty()
        && is_label_text(name)
    {
        return Ok(());
    }
    Err(format!(
        "{key:?} is no label key: write letters, digits, `-`, `_` and `.`, at most 63, a letter or digit at both ends, before it perhaps a domain and `/`"
    ))
}

/// A label's value: empty, or at most 63 characters.
pub(super) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is no label value: write letters, digits, `-`, `_` and `.`, at most 63, a letter or digit at both ends"
    ))
}

fn is_label_text(text: &str) -> bool {
    let octets = text.as_bytes();
    octets.len() <= 63
        && octets
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
        && octets.first().is_some_and(u8::is_ascii_alphanumeric)
        && octets.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn convert(value: serde_json::Value) -> Result<Selector, Fault> {
        Selector::convert(
            &serde_json::from_value(value).unwrap(),
            "spec.serviceSelector",
        )
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_empty_selector_matches_everything() {
        assert!(convert(json!({})).unwrap().matches(&labels(&[])));
        assert!(
            convert(json!({"matchLabels": {}, "matchExpressions": []}))
                .unwrap()
                .matches(&labels(&[("a", "b")]))
        );
    }

    #[test]
    fn not_in_matches_objects_without_the_key() {
        let selector = convert(
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}),
        )
        .unwrap();
        assert!(selector.matches(&labels(&[])));
        assert!(selector.matches(&labels(&[("a", "y")])));
        assert!(!selector.matches(&labels(&[("a", "x")])));
    }

    #[test]
    fn all_requirements_must_hold() {
        let selector = convert(json!({"matchLabels": {"bgp": "enabled"}, "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["a", "b"]}, {"key": "ready", "operator": "Exists"},
            {"key": "spare", "operator": "DoesNotExist"}]}))
        .unwrap();
        assert!(selector.matches(&labels(&[("bgp", "enabled"), ("zone", "b"), ("ready", "")])));
        assert!(!selector.matches(&labels(&[("bgp", "enabled"), ("zone", "c"), ("ready", "")])));
        assert!(!selector.matches(&labels(&[("bgp", "enabled"), ("zone", "b")])));
        assert!(!selector.matches(&labels(&[
            ("bgp", "enabled"),
            ("zone", "b"),
            ("ready", ""),
            ("spare", "")
        ])));
    }

    #[test]
    fn invalid_selectors_say_where_and_why() {
        let cases = [
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}),
                "spec.serviceSelector.matchExpressions[0].values: In needs at least one value",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn"}]}),
                "spec.serviceSelector.matchExpressions[0].values: NotIn needs at least one value",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                "spec.serviceSelector.matchExpressions[0].values: Exists takes no values: remove them",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Equals", "values": ["b"]}]}),
                "spec.serviceSelector.matchExpressions[0].operator: \"Equals\" is no operator: write In, NotIn, Exists or DoesNotExist",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(convert(value).unwrap_err().to_string(), expected);
        }
        assert!(
            convert(json!({"matchLabels": {"a b": "c"}}))
                .unwrap_err()
                .message
                .contains("is no label key")
        );
        assert!(
            convert(json!({"matchLabels": {"a": "c d"}}))
                .unwrap_err()
                .message
                .contains("is no label value")
        );
        assert!(convert(json!({"matchLabels": {"a": "x".repeat(64)}})).is_err());
        assert!(convert(json!({"matchLabels": {"Ex_ample/a": "x"}})).is_err());
    }

    #[test]
    fn the_text_form_is_read_and_written() {
        let selector = Selector::parse("a=b, c in (d, e),!f,g,h!=i,j==k,l notin (m,)").unwrap();
        assert_eq!(
            selector.to_string(),
            "a=b,c in (d,e),!f,g,h!=i,j=k,l notin (m,)"
        );
        assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        assert_eq!(Selector::parse("").unwrap(), Selector::default());
        assert!(selector.matches(&labels(&[
            ("a", "b"),
            ("c", "e"),
            ("g", "1"),
            ("j", "k"),
            ("l", "x")
        ])));
    }

    #[test]
    fn the_text_form_refuses_what_it_cannot_read() {
        for bad in [
            "a=b,",
            "a in b",
            "a in (b",
            "a in b)",
            "(a)",
            "a within (b)",
            "a in (b) c",
            "a b=c",
            "=b",
            "a in ((b))",
            ",",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }
}
