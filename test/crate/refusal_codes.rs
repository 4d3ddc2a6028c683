//! The codes of refusals: the pipe, the receiver's table and the page for users know the same ones.

use std::collections::BTreeSet;
use std::path::Path;

use fastapi_handoff::receiver::RefusalCode;
use fastapi_handoff::report::for_code;

use crate::repository;

fn of_the_pipe() -> BTreeSet<String> {
    RefusalCode::ALL.iter().map(ToString::to_string).collect()
}

/// The keys of the receiver's table: lines such as `    "no-grant-matches": Code(403, …`.
fn of_the_receiver() -> BTreeSet<String> {
    let tables = ["request/refusal.py", "problems.py"].map(|file| format!("receiver/src/fastapi_handoff/{file}"));
    let table = tables
        .iter()
        .find(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists())
        .expect("the receiver's table of codes is there");
    repository(table)
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": Code("))
        .map(|(code, _)| code.to_owned())
        .collect()
}

/// The headings of the page that look like a code: lower case with a hyphen.
fn of_the_page() -> BTreeSet<String> {
    repository("docs/troubleshooting.md")
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.contains('-') && heading.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn pipe_and_receiver_know_the_same_codes() {
    assert_eq!(of_the_pipe(), of_the_receiver());
}

#[test]
fn every_code_has_its_paragraph_in_troubleshooting() {
    assert_eq!(of_the_pipe(), of_the_page());
}

#[test]
fn every_code_is_read_back_and_has_an_advice() {
    for code in RefusalCode::ALL {
        assert_eq!(RefusalCode::parse(code.as_str()), Some(*code));
        assert!(for_code(*code).len() > 20, "{code}");
    }
}
