//! Who may import whom in the controller, and that no core knows its user: the table of docs/architecture.md, checked against the
//! `use` lines and paths in the sources. bgp-core checks its own rooms.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room of the controller that thinks, and the rooms of the controller it may use.
const CONTROLLER: &[(&str, &[&str])] = &[
    ("crd", &[]),
    ("cluster", &["crd"]),
    ("plan", &["cluster"]),
    ("l2", &["cluster"]),
];

/// Crates that carry IO, clocks or a runtime. The pure rooms do without.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "socket2",
    "rustix",
    "hyper",
    "hyper_util",
    "axum",
    "inotify",
    "futures_util",
];

/// Parts of std that do IO or ask the clock.
const IMPURE_STD: &[&str] = &[
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
];

#[test]
fn the_thinking_rooms_of_the_controller_import_only_what_the_table_allows() {
    check(&source("controller"), CONTROLLER);
}

#[test]
fn the_cores_use_neither_io_nor_clock_nor_runtime() {
    let mut found = Vec::new();
    let thinking = CONTROLLER
        .iter()
        .map(|(room, _)| room_of(&source("controller"), room));
    for place in [source("bgp-core"), source("ipam")]
        .into_iter()
        .chain(thinking.flatten())
    {
        for file in rust_files(&place) {
            for (number, line) in code_lines(&file) {
                let foreign = IMPURE.iter().any(|name| names_crate(&line, name));
                if foreign || IMPURE_STD.iter().any(|name| line.contains(name)) {
                    found.push(format!("{}:{number}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "IO, clock or runtime in a pure room:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_arrow_goes_back() {
    let mut found = Vec::new();
    for (package, others) in [
        ("bgp-core", &["controller", "ipam"][..]),
        ("ipam", &["controller", "bgp_core"]),
    ] {
        for file in rust_files(&source(package)) {
            for (number, line) in code_lines(&file) {
                if others.iter().any(|other| names_crate(&line, other)) {
                    found.push(format!("{}:{number}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "a core that knows its user:\n{}",
        found.join("\n")
    );
}

fn check(source: &Path, table: &[(&str, &[&str])]) {
    let mut found = Vec::new();
    for (room, allowed) in table {
        for file in room_of(source, room)
            .iter()
            .flat_map(|place| rust_files(place))
        {
            for (number, line) in code_lines(&file) {
                let foreign = rooms_named(&line)
                    .into_iter()
                    .filter(|used| used != room && !allowed.contains(&&**used));
                found.extend(
                    foreign.map(|used| {
                        format!("{}:{number}: {room} may not use {used}", file.display())
                    }),
                );
            }
        }
    }
    assert!(
        found.is_empty(),
        "imports against the table:\n{}",
        found.join("\n")
    );
}

/// The first names after `crate::`, one or a group in braces.
fn rooms_named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, mark) in line.match_indices("crate::") {
        let rest = &line[at + mark.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![leading_name(rest)],
        };
        // A name in capitals is re-exported by the crate's root, which belongs to no room.
        rooms.extend(
            names
                .into_iter()
                .filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase())),
        );
    }
    rooms
}

fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(group[start..at].trim()));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(group[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn leading_name(path: &str) -> String {
    path.chars()
        .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
        .collect()
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let inside_a_word = before.is_some_and(|character| {
            character.is_ascii_alphanumeric() || character == '_' || character == ':'
        });
        !inside_a_word && line[at + name.len()..].starts_with("::")
    })
}

/// Code lines up to the tests at the bottom, `use` statements joined into one line, with their line numbers.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut inside_use = false;
    for (index, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("#[cfg(test)]") {
            break;
        }
        if code.starts_with("//") {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if inside_use => last.push_str(code),
            _ => lines.push((index + 1, code.to_owned())),
        }
        let begins = code.starts_with("use ") || code.starts_with("pub use ");
        inside_use = (inside_use || begins) && !code.ends_with(';');
    }
    lines
}

fn room_of(source: &Path, room: &str) -> Vec<PathBuf> {
    [source.join(room), source.join(format!("{room}.rs"))]
        .into_iter()
        .filter(|place| place.exists())
        .collect()
}

/// The files of a room, without the modules that exist for tests alone.
fn rust_files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for entry in fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()))
    {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    let for_tests: BTreeSet<String> = files.iter().flat_map(|file| test_modules(file)).collect();
    let is_code = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        stem.is_none_or(|stem| stem != "tests" && !for_tests.contains(stem))
    };
    files.retain(is_code);
    folders.retain(is_code);
    files.extend(folders.iter().flat_map(|folder| rust_files(folder)));
    files.sort();
    files
}

/// The names of `#[cfg(test)] mod name;` in a file.
fn test_modules(file: &Path) -> Vec<String> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let after_marks = text.split("#[cfg(test)]").skip(1);
    let modules = after_marks.filter_map(|rest| {
        let line = rest.trim_start().lines().next()?;
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    modules.map(str::to_owned).collect()
}

fn source(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(package)
        .join("src")
}

#[test]
fn the_check_itself_sees_groups_and_paths() {
    assert_eq!(
        rooms_named("use crate::{codec::{Reader, Writer}, types, Asn};"),
        ["codec", "types"]
    );
    assert_eq!(rooms_named("fn f() -> crate::rib::Route {"), ["rib"]);
    assert!(names_crate("use tokio::net;", "tokio") && !names_crate("use my_tokio::net;", "tokio"));
}
