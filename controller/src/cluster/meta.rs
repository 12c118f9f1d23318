use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::selector::{check_label_key, check_label_value};
use super::{Fault, Labels, Meta, ObjectName};

/// Reads what is common to all objects; the name is the key the object is known by, its namespace already filled in.
pub(super) fn convert(name: &ObjectName, meta: ObjectMeta) -> Result<Meta, Vec<Fault>> {
    let labels: Labels = meta.labels.unwrap_or_default().into();
    let mut faults = vec![];
    for (key, value) in &labels {
        let field = || format!("metadata.labels.{key}");
        if let Err(reason) = check_label_key(key) {
            faults.push(Fault::new(field(), reason));
        }
        if let Err(reason) = check_label_value(value) {
            faults.push(Fault::new(field(), reason));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Meta {
        name: name.clone(),
        uid: meta.uid.unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        created: meta.creation_timestamp.map(|time| time.0.as_second()),
        labels,
        annotations: meta.annotations.unwrap_or_default().into(),
        deleting: meta.deletion_timestamp.is_some(),
    })
}

/// Whether a name is one that the API server would take: a DNS subdomain (RFC 1123), at most 253 characters.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good_part = |part: &str| {
        part.bytes()
            .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(good_part) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name: write lower case letters, digits, `-` and `.`, at most 253, a letter or digit at both ends"
    ))
}

/// Whether a namespace's name is one that the API server would take: a DNS label, at most 63 characters.
pub(super) fn check_namespace(name: &str) -> Result<(), String> {
    if name.len() <= 63 && !name.contains('.') && check_name(name).is_ok() {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no namespace: write lower case letters, digits and `-`, at most 63, a letter or digit at both ends"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_api_servers_rules() {
        for good in ["a", "web-1", "k3s-master1.lan", "0"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Web",
            "-a",
            "a-",
            "a..b",
            "../etc/passwd",
            "a/b",
            "ä",
            &"a".repeat(254),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_namespace("kube-system").is_ok());
        assert!(check_namespace("a.b").is_err());
        assert!(check_namespace(&"a".repeat(64)).is_err());
    }
}
