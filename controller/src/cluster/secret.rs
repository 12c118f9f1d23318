use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Fault, Password};

const KEY: &str = "password";

/// Takes the password out of a Secret and removes everything secret from the object, whatever its shape.
///
/// The reasons never quote what they are about.
pub(super) fn take_password(object: &mut Value) -> Result<Option<Password>, Fault> {
    let Some(fields) = object.as_object_mut() else {
        return Ok(None);
    };
    let encrypted = fields.remove("sops").is_some();
    let data = fields.remove("data");
    let text = fields.remove("stringData");
    fields.retain(|key, _| {
        matches!(
            key.as_str(),
            "apiVersion" | "kind" | "metadata" | "type" | "immutable"
        )
    });
    if let Some(annotations) = fields
        .get_mut("metadata")
        .and_then(|meta| meta.get_mut("annotations"))
        .and_then(Value::as_object_mut)
    {
        // `kubectl apply` keeps the whole Secret there.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let entry = |values: &Option<Value>| {
        values
            .as_ref()
            .and_then(Value::as_object)
            .and_then(|map: &Map<_, _>| map.get(KEY).cloned())
    };
    let not_text = |field: &str| Fault::new(field, "the password is not text; write it in quotes");
    if encrypted && (entry(&text).is_some() || entry(&data).is_some()) {
        return Err(Fault::new(
            "sops",
            "the Secret is encrypted with SOPS, which only a decrypting controller can read: give the decrypted one",
        ));
    }
    let password = match (entry(&text), entry(&data)) {
        (Some(Value::String(text)), _) => text.into_bytes(),
        (Some(_), _) => return Err(not_text("stringData.password")),
        (None, Some(Value::String(encoded))) => {
            let packed: String = encoded.split_ascii_whitespace().collect();
            STANDARD.decode(packed).map_err(|_| {
                Fault::new(
                    "data.password",
                    "the value is not base64; plain text belongs into stringData",
                )
            })?
        }
        (None, Some(_)) => return Err(not_text("data.password")),
        (None, None) => return Ok(None),
    };
    Ok((!password.is_empty()).then_some(Password(password)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn password(mut object: Value) -> (Result<Option<Vec<u8>>, String>, String) {
        let taken = take_password(&mut object)
            .map(|password| password.map(|password| password.0))
            .map_err(|fault| fault.to_string());
        (taken, object.to_string())
    }

    #[test]
    fn data_is_decoded_and_string_data_wins() {
        assert_eq!(
            password(json!({"data": {"password": "czNjcjN0"}})).0,
            Ok(Some(b"s3cr3t".to_vec()))
        );
        assert_eq!(
            password(
                json!({"data": {"password": "czNjcjN0"}, "stringData": {"password": "plain"}})
            )
            .0,
            Ok(Some(b"plain".to_vec()))
        );
        assert_eq!(password(json!({"data": {"other": "czNjcjN0"}})).0, Ok(None));
        assert_eq!(
            password(json!({"stringData": {"password": ""}})).0,
            Ok(None)
        );
        assert_eq!(password(json!({})).0, Ok(None));
    }

    #[test]
    fn nothing_secret_stays_behind_or_is_quoted() {
        let cases = [
            json!({"kind": "Secret", "data": {"password": "s3cr3t!"}}),
            json!({"kind": "Secret", "stringData": {"password": 53_234}, "extra": "s3cr3t"}),
            json!({"kind": "Secret", "stringData": "s3cr3t"}),
            json!({"kind": "Secret", "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "s3cr3t"}}, "data": {"password": "czNjcjN0"}}),
            json!({"kind": "Secret", "stringData": {"password": "ENC[s3cr3t]"}, "sops": {"mac": "s3cr3t"}}),
        ];
        for case in cases {
            let (taken, rest) = password(case);
            assert!(
                !rest.contains("s3cr3t") && !rest.contains("czNjcjN0") && !rest.contains("53234"),
                "{rest}"
            );
            if let Err(reason) = taken {
                assert!(!reason.contains("s3cr3t"), "{reason}");
            }
        }
        assert_eq!(
            format!("{:?}", Password(b"s3cr3t".to_vec())),
            "Password(..)"
        );
    }

    #[test]
    fn an_encrypted_secret_is_named_as_such() {
        let (taken, _) =
            password(json!({"stringData": {"password": "ENC[AES256_GCM]"}, "sops": {}}));
        assert!(taken.unwrap_err().contains("SOPS"));
    }
}
