//! One recorded status as a file: its name, its text, and how it gets to the disk.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::cluster::{Kind, ObjectKey, ObjectName};

/// A status is a few hundred octets; what is much larger was not written by us.
const MAX_OCTETS: u64 = 1 << 20;
/// File names end at 255 octets on every file system that matters.
const MAX_NAME: usize = 200;
/// Up to so many files are synced one by one; more of them with their whole file system.
const FEW: usize = 8;
/// What a file is called while it is being written.
const TEMPORARY: &str = ".writing-";

/// A status on record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// `status` as the object should carry it.
    pub(super) status: Arc<Value>,
    /// When the object went away, for one that is gone.
    pub(super) released_at: Option<Timestamp>,
}

/// The name of an object's file. Object names are checked at the door; what the file system could misunderstand is
/// escaped all the same, and long names end in a hash.
pub(super) fn file_name(key: &ObjectKey) -> String {
    let kind = match key.kind {
        Kind::Service => "service",
        Kind::CiliumLoadBalancerIPPool => "pool",
        other => other.name(),
    };
    let mut name = kind.to_owned();
    for part in [&key.name.namespace, &key.name.name] {
        if part.is_empty() {
            continue;
        }
        name.push('_');
        for octet in part.bytes() {
            if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.' {
                name.push(char::from(octet));
            } else {
                name.push_str(&format!("%{octet:02X}"));
            }
        }
    }
    if name.len() > MAX_NAME {
        // The hash of the standard library may change between versions of it, this one may not.
        let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
        hasher.write(name.as_bytes());
        name.truncate(MAX_NAME - 17);
        name.push_str(&format!("~{:016x}", hasher.finish()));
    }
    name.push_str(".json");
    name
}

/// The text of an object's file.
pub(super) fn text(key: &ObjectKey, record: &Record) -> String {
    let (group, version) = match key.kind {
        Kind::CiliumLoadBalancerIPPool => (key.kind.group(), "v2"),
        _ => (key.kind.group(), "v1"),
    };
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut metadata = json!({"name": key.name.name});
    if key.kind.is_namespaced() {
        metadata["namespace"] = json!(key.name.namespace);
    }
    let mut object = json!({"apiVersion": api_version, "kind": key.kind.name(), "metadata": metadata, "status": *record.status});
    if let Some(time) = record.released_at {
        object["releasedAt"] = json!(time.to_string());
    }
    format!("{object:#}\n")
}

/// Reads a file back; the reason names what is wrong with it.
pub(super) fn read(path: &Path) -> Result<(ObjectKey, Record), String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| error.to_string())?;
    let mut octets = vec![];
    file.take(MAX_OCTETS + 1)
        .read_to_end(&mut octets)
        .map_err(|error| error.to_string())?;
    if octets.len() as u64 > MAX_OCTETS {
        return Err("it is larger than any status".to_owned());
    }
    let mut object: Value =
        serde_json::from_slice(&octets).map_err(|error| format!("it is no JSON: {error}"))?;
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let kind = match text("/kind").as_deref() {
        Some("Service") => Kind::Service,
        Some("CiliumLoadBalancerIPPool") => Kind::CiliumLoadBalancerIPPool,
        _ => return Err("it is no Service and no CiliumLoadBalancerIPPool".to_owned()),
    };
    let name = text("/metadata/name").ok_or("it has no metadata.name")?;
    let namespace = text("/metadata/namespace").unwrap_or_default();
    let key = ObjectKey {
        kind,
        name: ObjectName {
            namespace: namespace.into(),
            name: name.into(),
        },
    };
    if path
        .file_name()
        .is_none_or(|name| name != file_name(&key).as_str())
    {
        return Err(format!(
            "it is about {key}, whose file would be {}",
            file_name(&key)
        ));
    }
    let released_at = match text("/releasedAt") {
        Some(time) => Some(
            time.parse()
                .map_err(|error| format!("releasedAt: {error}"))?,
        ),
        None => None,
    };
    let status = match object.get_mut("status") {
        Some(status @ Value::Object(_)) => Arc::new(status.take()),
        _ => return Err("it has no status".to_owned()),
    };
    Ok((
        key,
        Record {
            status,
            released_at,
        },
    ))
}

/// Whether a file of that name could hold a record.
pub(super) fn is_record(name: &str) -> bool {
    !name.starts_with('.')
}

/// Writes files and removes those without text, so that after a crash at any moment each one is there as a whole, either
/// as it was or as it is wanted, and that after this returned all are as wanted.
pub(super) fn write_all(directory: &Path, files: &[(String, Option<String>)]) -> io::Result<()> {
    let mut written: Vec<(PathBuf, PathBuf)> = vec![];
    let result = write_and_rename(directory, files, &mut written);
    if result.is_err() {
        for (temporary, _) in written {
            // Renamed already, most of them; the others are not to stay behind.
            let _ = fs::remove_file(temporary);
        }
    }
    result
}

fn write_and_rename(
    directory: &Path,
    files: &[(String, Option<String>)],
    written: &mut Vec<(PathBuf, PathBuf)>,
) -> io::Result<()> {
    let handle = File::open(directory)?;
    let process = std::process::id();
    let few = files.len() <= FEW;
    for (index, (name, text)) in files.iter().enumerate() {
        let Some(text) = text else { continue };
        let temporary = directory.join(format!("{TEMPORARY}{process}-{index}"));
        written.push((temporary.clone(), directory.join(name)));
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        if few {
            file.sync_all()?;
        }
    }
    if !few {
        rustix::fs::syncfs(&handle)?;
    }
    for (temporary, path) in written.iter() {
        fs::rename(temporary, path)?;
    }
    for (name, _) in files.iter().filter(|(_, text)| text.is_none()) {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    handle.sync_all()
}

/// Removes what a writer that was killed left behind. Only for whoever alone writes.
pub(super) fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // Nobody reads it; it is merely in the way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            kind,
            name: ObjectName {
                namespace: namespace.into(),
                name: name.into(),
            },
        }
    }

    #[test]
    fn file_names_are_safe_and_distinct() {
        assert_eq!(
            file_name(&key(Kind::Service, "networking", "web.v2")),
            "service_networking_web.v2.json"
        );
        assert_eq!(
            file_name(&key(Kind::CiliumLoadBalancerIPPool, "", "p")),
            "pool_p.json"
        );
        assert_eq!(
            file_name(&key(Kind::Service, "a_b", "../c")),
            "service_a%5Fb_..%2Fc.json"
        );
        let long = |end: &str| {
            file_name(&key(
                Kind::Service,
                "n",
                &format!("{}{end}", "x".repeat(250)),
            ))
        };
        assert!(long("a").len() <= 255);
        assert_ne!(long("a"), long("b"));
        assert_ne!(
            file_name(&key(Kind::Service, "a", "b")),
            file_name(&key(Kind::Service, "a_b", ""))
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let keys = [
            key(Kind::Service, "a", "b"),
            key(Kind::CiliumLoadBalancerIPPool, "", "p"),
        ];
        for (key, released_at) in keys.into_iter().zip([None, Some(Timestamp::UNIX_EPOCH)]) {
            let record = Record {
                status: Arc::new(json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}})),
                released_at,
            };
            write_all(
                directory.path(),
                &[(file_name(&key), Some(text(&key, &record)))],
            )
            .unwrap();
            assert_eq!(
                read(&directory.path().join(file_name(&key))),
                Ok((key, record))
            );
        }
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            2,
            "no temporary file stays"
        );
    }

    #[test]
    fn many_files_are_written_and_removed_in_one_go() {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..50)
            .map(|number| (format!("{number}.json"), Some(number.to_string())))
            .collect();
        write_all(directory.path(), &files).unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("49.json")).unwrap(),
            "49"
        );
        let none: Vec<_> = files.into_iter().map(|(name, _)| (name, None)).collect();
        write_all(directory.path(), &none).unwrap();
        write_all(directory.path(), &none).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn torn_and_foreign_files_are_refused_with_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let good = text(
            &key(Kind::Service, "a", "b"),
            &Record {
                status: Arc::new(json!({})),
                released_at: None,
            },
        );
        for (name, text, reason) in [
            ("service_a_b.json", &good[..good.len() / 2], "no JSON"),
            ("service_a_b.json", "", "no JSON"),
            ("service_a_b.json", "[]", "no Service"),
            (
                "service_a_c.json",
                &good,
                "whose file would be service_a_b.json",
            ),
            (
                "service_a_b.json",
                &good.replace("\"status\": {}", "\"status\": 7"),
                "no status",
            ),
            (
                "service_a_b.json",
                "{\"kind\": \"Service\"}",
                "no metadata.name",
            ),
            ("notes.json", "{\"kind\": \"Node\"}", "no Service"),
            (
                "service_a_b.json",
                &good.replace("\"status\": {}", "\"status\": {}, \"releasedAt\": \"soon\""),
                "releasedAt",
            ),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
            let error = read(&directory.path().join(name)).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
