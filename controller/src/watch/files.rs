//! The manifest files below a directory: found, read when they change, each in force as it last could be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::cluster::{Document, Objects, Place, Problem};

use super::yaml;

/// A larger file is not read.
const MAX_FILE_OCTETS: u64 = 16 << 20;
/// All files together; what comes later (by path) is not read.
const MAX_TOTAL_OCTETS: u64 = 256 << 20;
/// Files; what comes later (by path) is not read.
const MAX_FILES: usize = 20_000;
/// How deep directories are followed.
const MAX_DEPTH: usize = 64;
/// Directories: a symbolic link may lead to the root of a whole machine.
const MAX_DIRECTORIES: usize = 20_000;

/// Which files have to be looked at again.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Read these although they look the same.
    pub(super) certain: BTreeSet<PathBuf>,
    /// Read all although they look the same: we may have missed something.
    pub(super) everything: bool,
    /// Do not read these: somebody is in the middle of writing them.
    pub(super) unfinished: BTreeSet<PathBuf>,
}

/// The files as they were last read.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    secrets_namespace: String,
    /// A directory that is none of the manifests', wherever it lies.
    left_out: Option<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// What is wrong with the directories themselves.
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// Length and hash of what was read last, good or bad.
    content: Option<(usize, u64)>,
    /// As last readable.
    documents: Vec<Document>,
    /// Whether it ever was readable.
    was_good: bool,
    /// Why it is not readable now.
    problem: Option<Problem>,
}

/// What changes with a file, almost always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that the walk found.
struct Found {
    /// Below the root; the file's name in all we say of it.
    path: PathBuf,
    full: PathBuf,
    /// Where a symbolic link leads.
    target: Option<PathBuf>,
    metadata: io::Result<Metadata>,
}

impl Files {
    /// Nothing read yet.
    pub(super) fn new(root: PathBuf, secrets_namespace: String, left_out: Option<PathBuf>) -> Self {
        Self {
            root,
            secrets_namespace,
            left_out,
            files: BTreeMap::new(),
            problems: vec![],
        }
    }

    /// Looks at the directory again and reads what changed. `watch` is told of every directory before it is listed, so
    /// that no change after that is missed. Returns whether anything is different.
    ///
    /// # Errors
    ///
    /// The root cannot be listed. All stays as it was.
    pub(super) fn refresh(
        &mut self,
        changes: &Changes,
        watch: &mut dyn FnMut(&Path),
    ) -> io::Result<bool> {
        let mut walk = Walk {
            watch,
            found: BTreeMap::new(),
            directories: BTreeSet::new(),
            unreadable: vec![],
            problems: vec![],
        };
        if let Some(metadata) = self
            .left_out
            .as_ref()
            .and_then(|path| fs::metadata(path).ok())
        {
            walk.directories.insert((metadata.dev(), metadata.ino()));
        }
        walk.directory(&self.root, Path::new(""), 0)?;
        let Walk {
            found,
            unreadable,
            mut problems,
            ..
        } = walk;

        let mut former = std::mem::take(&mut self.files);
        let mut changed = false;
        let (mut total, mut left_out) = (0, 0);
        for (path, found) in found {
            let file = former.remove(&path);
            let size = found
                .metadata
                .as_ref()
                .map_or(0, Metadata::size)
                .min(MAX_FILE_OCTETS);
            if self.files.len() >= MAX_FILES || total + size > MAX_TOTAL_OCTETS {
                left_out += 1;
                changed |= file.is_some();
                continue;
            }
            total += size;
            let (file, differs) = self.look_at(found, file, changes);
            changed |= differs;
            self.files.extend(file.map(|file| (path, file)));
        }
        if left_out > 0 {
            let message = format!(
                "{left_out} files are not read: at most {MAX_FILES} and {} MiB in all",
                MAX_TOTAL_OCTETS >> 20
            );
            problems.push(file_problem(Path::new("."), None, message, false));
        }
        for (path, file) in former {
            if unreadable
                .iter()
                .any(|directory| path.starts_with(directory))
            {
                self.files.insert(path, file);
            } else {
                changed = true;
            }
        }
        changed |= problems != self.problems;
        self.problems = problems;
        Ok(changed)
    }

    /// Says that the root cannot be listed; what was read last stays in force. Returns whether that is news.
    pub(super) fn root_is_gone(&mut self, error: &io::Error) -> bool {
        let message = format!(
            "the directory {} cannot be read: {error}; what it last held stays in force",
            self.root.display()
        );
        let problems = vec![Problem {
            object: String::new(),
            place: None,
            field: String::new(),
            message,
            last_valid_in_force: false,
        }];
        let news = self.problems != problems;
        self.problems = problems;
        news
    }

    /// All objects, in the order of the files' paths.
    pub(super) fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        for problem in &self.problems {
            objects.add_problem(problem.clone());
        }
        for file in self.files.values() {
            for document in &file.documents {
                for (key, object) in &document.objects {
                    objects.insert(key.clone(), object.clone());
                }
                document
                    .problems
                    .iter()
                    .for_each(|problem| objects.add_problem(problem.clone()));
            }
            file.problem
                .iter()
                .for_each(|problem| objects.add_problem(problem.clone()));
        }
        objects
    }

    /// The file as it is now, and whether it differs from what it was.
    fn look_at(
        &self,
        found: Found,
        former: Option<File>,
        changes: &Changes,
    ) -> (Option<File>, bool) {
        let is_in = |set: &BTreeSet<PathBuf>| {
            set.contains(&found.full)
                || found
                    .target
                    .as_ref()
                    .is_some_and(|target| set.contains(target))
        };
        if is_in(&changes.unfinished) {
            return (former, false);
        }
        let stamp = match &found.metadata {
            Ok(metadata) => Stamp::of(metadata),
            Err(error) => {
                return (
                    Some(failed(
                        former,
                        Stamp::NONE,
                        None,
                        &found.path,
                        error.to_string(),
                    )),
                    true,
                );
            }
        };
        if let Some(file) = &former
            && file.stamp == stamp
            && !changes.everything
            && !is_in(&changes.certain)
        {
            return (former, false);
        }
        let text = match read_text(&found.full) {
            Ok(text) => text,
            Err((line, message)) => {
                let file = failed_at(former, stamp, None, &found.path, line, message);
                return (Some(file), true);
            }
        };
        let content = Some((text.len(), hash(&text)));
        match former {
            Some(file) if file.content == content => (Some(File { stamp, ..file }), false),
            former => (
                Some(self.parse(former, stamp, content, &found.path, &text)),
                true,
            ),
        }
    }

    fn parse(
        &self,
        former: Option<File>,
        stamp: Stamp,
        content: Option<(usize, u64)>,
        path: &Path,
        text: &str,
    ) -> File {
        match yaml::read(text) {
            Ok(documents) => {
                let name: Arc<str> = path.display().to_string().into();
                let read = |(value, lines)| {
                    let place = Place {
                        file: name.clone(),
                        lines,
                    };
                    Document::read(value, Some(&place), &self.secrets_namespace)
                };
                let documents = documents.into_iter().map(read).collect();
                File {
                    stamp,
                    content,
                    documents,
                    was_good: true,
                    problem: None,
                }
            }
            Err(error) => failed_at(
                former,
                stamp,
                content,
                path,
                Some(error.line),
                error.message,
            ),
        }
    }
}

impl Stamp {
    const NONE: Self = Self {
        device: 0,
        inode: 0,
        size: 0,
        modified: (0, 0),
        changed: (0, 0),
    };

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Follows directories and symbolic links, each directory once.
struct Walk<'a> {
    watch: &'a mut dyn FnMut(&Path),
    found: BTreeMap<PathBuf, Found>,
    directories: BTreeSet<(u64, u64)>,
    /// Directories that cannot be listed: what was below them stays.
    unreadable: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn directory(&mut self, full: &Path, path: &Path, depth: usize) -> io::Result<()> {
        let metadata = fs::metadata(full)?;
        if !self.directories.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        (self.watch)(full);
        let mut entries = fs::read_dir(full)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            // Hidden files belong to editors and to git; kubelet's mounts keep their versions in `..2026_01_01` and
            // link to them.
            if is_hidden(&name) || self.found.len() > MAX_FILES {
                continue;
            }
            let (full, path) = (full.join(&name), path.join(&name));
            let metadata = match fs::metadata(&full) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata,
            };
            if metadata.as_ref().is_ok_and(Metadata::is_dir) {
                self.below(&full, path, depth + 1);
                continue;
            }
            if !is_manifest(&path) || metadata.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let target = if is_link {
                fs::canonicalize(&full).ok()
            } else {
                None
            };
            if let Some(parent) = target.as_deref().and_then(Path::parent) {
                (self.watch)(parent);
            }
            self.found.insert(
                path.clone(),
                Found {
                    path,
                    full,
                    target,
                    metadata,
                },
            );
        }
        Ok(())
    }

    fn below(&mut self, full: &Path, path: PathBuf, depth: usize) {
        if depth > MAX_DEPTH {
            let message = format!("directories are nested more than {MAX_DEPTH} deep");
            return self
                .problems
                .push(file_problem(&path, None, message, false));
        }
        if self.directories.len() >= MAX_DIRECTORIES {
            let message =
                format!("more than {MAX_DIRECTORIES} directories: the others are not read");
            if self
                .problems
                .iter()
                .all(|problem| problem.message != message)
            {
                self.problems
                    .push(file_problem(&path, None, message, false));
            }
            return;
        }
        match self.directory(full, &path, depth) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!(
                    "the directory cannot be read: {error}; what it last held stays in force"
                );
                self.problems
                    .push(file_problem(&path, None, message, false));
                self.unreadable.push(path);
            }
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a file of that name is read.
pub(super) fn is_manifest(path: &Path) -> bool {
    if path.file_name().is_none_or(is_hidden) {
        return false;
    }
    let is = |wanted: &str| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
    };
    is("yaml") || is("yml") || is("json")
}

/// The text, or a line and why it cannot be read.
fn read_text(path: &Path) -> Result<String, (Option<u64>, String)> {
    let reason = |error: io::Error| (None, format!("the file cannot be read: {error}"));
    // A pipe that takes the file's place between the look and this must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(reason)?;
    let mut octets = vec![];
    file.take(MAX_FILE_OCTETS + 1)
        .read_to_end(&mut octets)
        .map_err(reason)?;
    if octets.len() as u64 > MAX_FILE_OCTETS {
        return Err((
            None,
            format!(
                "the file is larger than {} MiB: split it",
                MAX_FILE_OCTETS >> 20
            ),
        ));
    }
    if octets.starts_with(b"\xEF\xBB\xBF") {
        octets.drain(..3);
    }
    String::from_utf8(octets).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|octet| **octet == b'\n').count() as u64 + 1;
        (Some(line), "the file is not UTF-8".to_owned())
    })
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn failed(
    former: Option<File>,
    stamp: Stamp,
    content: Option<(usize, u64)>,
    path: &Path,
    message: String,
) -> File {
    failed_at(former, stamp, content, path, None, message)
}

/// The former version with a problem beside it.
fn failed_at(
    former: Option<File>,
    stamp: Stamp,
    content: Option<(usize, u64)>,
    path: &Path,
    line: Option<u64>,
    message: String,
) -> File {
    let (documents, was_good) =
        former.map_or((vec![], false), |file| (file.documents, file.was_good));
    let problem = Some(file_problem(path, line, message, was_good));
    File {
        stamp,
        content,
        documents,
        was_good,
        problem,
    }
}

fn file_problem(
    path: &Path,
    line: Option<u64>,
    message: String,
    last_valid_in_force: bool,
) -> Problem {
    let place = match line {
        Some(line) if line > 0 => format!("{}:{line}", path.display()),
        _ => path.display().to_string(),
    };
    Problem {
        object: String::new(),
        place: Some(place),
        field: String::new(),
        message,
        last_valid_in_force,
    }
}
