//! The rooms of this crate import along the arrows of the house plan and nowhere else, and the crate itself needs
//! nothing that has a socket, a clock or a logger in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may name.
#[rustfmt::skip]
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("codec", &["types"]),
    ("attribute", &["codec", "types"]),
    ("capability", &["codec", "types"]),
    ("message", &["attribute", "capability", "codec", "types"]),
    ("fsm", &["message", "capability", "codec", "types"]),
    ("peer", &["fsm", "message", "capability", "codec", "types"]),
    ("rib", &["attribute", "types"]),
    ("speaker", &["peer", "rib", "fsm", "message", "attribute", "capability", "codec", "types"]),
    ("bfd", &[]),
];

/// What the crate may depend on outside of tests.
const DEPENDENCIES: &[&str] = &["bytes", "ipnet", "thiserror"];

/// What must not come in through any of those either.
#[rustfmt::skip]
const FOREIGN: &[&str] = &[
    "async-std", "getrandom", "kube", "libc", "log", "mio", "rand", "rustix", "smol", "socket2", "tokio", "tracing",
];

/// Where a socket, a clock, a file or a terminal would come from.
#[rustfmt::skip]
const OUTSIDE_WORLD: &[&str] = &[
    "Instant::now", "SystemTime", "std::env", "std::fs", "std::io", "std::net::Tcp", "std::net::Udp", "std::process",
    "std::thread", "println!", "eprint",
];

#[test]
fn every_room_names_only_the_rooms_below_it() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        let Some(room) = room_of(&file) else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "{}: room `{room}` is not in the table",
                file.display()
            ));
            continue;
        };
        for named in rooms_named_in(&text) {
            if named != room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: `{room}` names `{named}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_reaches_for_the_outside_world() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        for line in code_of(without_tests(&file, &text)) {
            if OUTSIDE_WORLD.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_crate_depends_on_nothing_with_a_socket_a_clock_or_a_logger() {
    let direct = section(&read(&root().join("Cargo.toml")), "dependencies");
    for name in &direct {
        assert!(
            DEPENDENCIES.contains(&name.as_str()),
            "`{name}` is not among {DEPENDENCIES:?}"
        );
    }
    // The lock file is the workspace's; a crate that was unpacked alone has none.
    let Ok(lock) = fs::read_to_string(root().join("../Cargo.lock")) else {
        return;
    };
    let graph = locked(&lock);
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> = direct.into_iter().collect();
    while let Some(name) = open.pop() {
        assert!(
            !FOREIGN.contains(&name.as_str()),
            "`{name}` is reached through the dependencies"
        );
        if reached.insert(name.clone()) {
            open.extend(graph.get(&name).cloned().unwrap_or_default());
        }
    }
    assert!(
        DEPENDENCIES.iter().all(|name| graph.contains_key(*name)),
        "the lock file was read"
    );
}

#[test]
fn the_crate_has_no_feature_and_no_build_script() {
    for line in read(&root().join("Cargo.toml")).lines().map(str::trim) {
        for header in ["[features", "[build-dependencies", "[target"] {
            assert!(!line.starts_with(header), "Cargo.toml has {line}");
        }
        assert!(!line.contains("optional"), "Cargo.toml has {line}");
    }
    assert!(!root().join("build.rs").exists());
    for (file, text) in sources() {
        assert!(!text.contains("feature = "), "{}", file.display());
    }
}

#[test]
fn the_checks_above_see_what_they_look_for() {
    let text = "use crate::rib::{Route, crate_x};\nuse crate::{codec::{Reader, Writer}, peer};\n// crate::message\nlet x: crate::fsm::Fsm;";
    let named: Vec<String> = rooms_named_in(text).into_iter().collect();
    assert_eq!(named, ["codec", "fsm", "peer", "rib"]);
    let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n[dev-dependencies]\nc = \"1\"";
    let names: Vec<String> = section(manifest, "dependencies").into_iter().collect();
    assert_eq!(names, ["a", "b"]);
    let lock = "[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n \"c 1.0.0\",\n]\n[[package]]\nname = \"b\"";
    assert_eq!(locked(lock)["a"], ["b", "c"]);
    let source = "use a;\n#[cfg(test)]\nmod tests {\n Instant::now()";
    assert!(!without_tests(Path::new("x.rs"), source).contains("Instant::now"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All source files below `src` with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut open = vec![root().join("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("the sources are there") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > ROOMS.len());
    found
}

/// The top folder below `src`; `lib.rs` is in no room.
fn room_of(file: &Path) -> Option<String> {
    let below = file.strip_prefix(root().join("src")).expect("below src");
    let mut parts = below.components();
    let first = parts.next()?.as_os_str().to_str()?.to_owned();
    parts.next().map(|_| first)
}

fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The text above the tests at its bottom; files of these names are nothing else.
fn without_tests<'a>(file: &Path, text: &'a str) -> &'a str {
    let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "testing.rs");
    let mut parts = file.strip_prefix(root()).unwrap_or(file).iter();
    if parts.any(|part| part.to_str().is_some_and(is_test)) {
        return "";
    }
    let is_end = |at: &usize| {
        let after = &text[*at..];
        let module = after
            .lines()
            .find(|line| !line.starts_with("#[") && !line.starts_with(' ') && *line != ")]");
        module.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let mut marks = text.match_indices("#[cfg(test)]").map(|(at, _)| at);
    &text[..marks.find(is_end).unwrap_or(text.len())]
}

/// Every `x` of `crate::x` and of `crate::{x, ..}`, comments apart.
fn rooms_named_in(text: &str) -> BTreeSet<String> {
    let code: String = code_of(text).map(|line| format!("{line}\n")).collect();
    let mut named = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => named.extend(group_members(group)),
            None => named.extend(word(rest)),
        }
    }
    named
}

/// The first words of the members of a `use` group, nested groups skipped.
fn group_members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut member) = (0, vec![], String::new());
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(std::mem::take(&mut member)),
            _ if depth == 0 => member.push(letter),
            _ => {}
        }
    }
    members.push(member);
    members
        .iter()
        .filter_map(|member| word(member.trim()))
        .collect()
}

/// A room's name: lower case, so that `crate::Type` is none.
fn word(text: &str) -> Option<String> {
    let is_part = |letter: &char| letter.is_ascii_lowercase() || *letter == '_';
    let word: String = text.chars().take_while(is_part).collect();
    (!word.is_empty()).then_some(word)
}

/// The names in one section of a manifest.
fn section(manifest: &str, name: &str) -> BTreeSet<String> {
    let header = format!("[{name}]");
    let lines = manifest.lines().map(str::trim);
    let body = lines
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let names = body.filter_map(|line| line.split(['.', '=', ' ']).next());
    names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The dependency graph of a lock file by name.
fn locked(lock: &str) -> BTreeMap<String, Vec<String>> {
    let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut package = String::new();
    for line in lock.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("name = \"") {
            package = name.trim_end_matches('"').to_owned();
            graph.entry(package.clone()).or_default();
        } else if let Some(dependency) = line.strip_prefix('"') {
            let name = dependency.split([' ', '"']).next().unwrap_or_default();
            graph
                .entry(package.clone())
                .or_default()
                .push(name.to_owned());
        }
    }
    graph
}
