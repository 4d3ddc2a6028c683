//! The structure of `src/`: each room has one door that says what belongs there, and imports go downwards only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the roof down. A room may use those on lower floors only.
const FLOORS: [&[&str]; 9] = [
    &["main"],
    &["lib"],
    &["run"],
    &["report"],
    &["receiver", "bitbucket"],
    &["identity", "http", "event"],
    &["settings"],
    &["console"],
    &["exit", "signals", "runtime", "crypto"],
];

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("the room `{room}` has no floor in test/crate/imports.rs"))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let (directories, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.chain(directories.iter().flat_map(|directory| self::files(directory))).collect()
}

/// The room a file belongs to: its folder below `src/`, or its own name there.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(source()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names as `crate::room`, also within `crate::{…}`. Comments do not count.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(top_level_names(group).map(name)),
            None => {
                used.insert(name(rest));
            }
        }
    }
    used
}

/// The beginnings of the items of `a::{b, c}, d}` that are not within inner braces.
fn top_level_names(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().map(|start| group[start..].trim_start())
}

#[test]
fn reader_of_imports_sees_every_form() {
    let text = "use crate::http::{Answer, Http};\nuse crate::{event::Event, settings::{A, B}, exit};\nlet x = crate::console::MASK; // crate::run\n";
    let expected = ["console", "event", "exit", "http", "settings"].map(str::to_owned);
    assert_eq!(rooms_used(text), BTreeSet::from(expected));
}

#[test]
fn imports_go_downwards_only() {
    let mut upwards = Vec::new();
    for path in files(&source()) {
        let from = room(&path);
        for to in rooms_used(&fs::read_to_string(&path).unwrap()) {
            if to != from && floor(&to) <= floor(&from) {
                upwards.push(format!("{} uses `{to}`", path.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{}", upwards.join("\n"));
}

/// The files of the same room that a file uses: the names after `super::` that are files there.
fn siblings_used(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let words = text.split("super::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.with_file_name(format!("{}.rs", &rest[..end]))
    });
    words.filter(|sibling| sibling.exists()).collect()
}

#[test]
fn files_of_a_room_do_not_import_each_other_in_a_circle() {
    let mut open = files(&source());
    // Take away what uses nothing that is left, until nothing is left; what stays is a circle.
    loop {
        let (stay, gone): (Vec<_>, Vec<_>) =
            open.iter().cloned().partition(|path| siblings_used(path).iter().any(|sibling| open.contains(sibling)));
        if gone.is_empty() {
            break;
        }
        open = stay;
    }
    assert!(open.is_empty(), "these import each other in a circle: {open:?}");
}

#[test]
fn every_room_has_one_door_that_says_what_belongs_there() {
    for entry in fs::read_dir(source()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let door = path.join("mod.rs");
        let text = fs::read_to_string(&door).unwrap_or_else(|error| panic!("{}: {error}", door.display()));
        let paragraphs = text.lines().take_while(|line| line.starts_with("//!")).collect::<String>();
        for said in ["Belongs here:", "Not here:"] {
            assert!(paragraphs.contains(said), "{} does not say `{said}`", door.display());
        }
        // What the door does not name stays inside: the compiler holds that where no file of the room is `pub`.
        assert!(!text.contains("pub mod "), "{} has a second door", door.display());
    }
}
