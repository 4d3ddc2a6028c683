//! One table of variables: `pipe.yml` and README say what `src/settings/variables.rs` says.

use fastapi_handoff::settings::{Check, Environment, Settings, VARIABLES, Variable};

use crate::repository;
use crate::step::environment;

/// The lines of `variables:` in pipe.yml.
fn pipe_yml() -> String {
    let lines = VARIABLES.iter().flat_map(|variable| {
        let name = format!("  - name: {}", variable.name);
        [name, format!("    default: '{}'", variable.default)]
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// The rows of README's table.
fn readme_rows() -> String {
    let rows = VARIABLES.iter().map(|variable| format!("| {}{} | {} |", variable.name, mark(variable), variable.text));
    rows.collect::<Vec<_>>().join("\n")
}

fn mark(variable: &Variable) -> &'static str {
    if is_required(variable) { " (*)" } else { "" }
}

/// Whether a step without the variable is refused for it.
fn is_required(variable: &Variable) -> bool {
    Settings::read(&environment(&[(variable.name, "")])).is_err_and(|mistakes| {
        mistakes.iter().any(|mistake| mistake.variable == variable.name && mistake.what == "is missing")
    })
}

#[test]
fn pipe_yml_passes_every_variable_with_its_default() {
    let text = repository("pipe.yml");
    let (_, rest) = text.split_once("\nvariables:\n").unwrap();
    let (variables, _) = rest.split_once("repository:").unwrap();
    assert_eq!(variables, pipe_yml());
}

#[test]
fn readme_explains_every_variable_in_the_words_of_the_table() {
    let text = repository("README.md");
    let (_, rest) = text.split_once("| Variable | Usage |\n| --- | --- |\n").unwrap();
    let (rows, _) = rest.split_once("\n\n").unwrap();
    assert_eq!(rows, readme_rows());
}

#[test]
fn readme_names_every_variable_and_its_type_where_it_shows_the_pipe() {
    let text = repository("README.md");
    for variable in VARIABLES {
        let kind = match variable.check {
            Check::Seconds(_) => "<integer>",
            Check::Switch => "<boolean>",
            Check::Own if variable.name == "CUSTOM_DATA" => "<json>",
            Check::OneOf(_) | Check::AtMost(..) | Check::Own => "<string>",
        };
        let line = format!("{}: '{kind}'", variable.name);
        assert!(text.contains(&line), "README has no line `{line}`");
    }
}

#[test]
fn every_default_of_the_table_passes_its_own_check() {
    for variable in VARIABLES.iter().filter(|variable| !variable.default.starts_with('$')) {
        let given = [(variable.name, variable.default)];
        assert!(Settings::read(&environment(&given)).is_ok(), "{}", variable.name);
    }
}

#[test]
fn variable_that_is_not_utf_8_is_found_whichever_it_is() {
    use std::os::unix::ffi::OsStringExt as _;

    for variable in VARIABLES {
        let broken = std::ffi::OsString::from_vec(vec![0xff]);
        let Err(mistakes) = Settings::read(&Environment::new([(variable.name.into(), broken)])) else {
            panic!("{} was accepted", variable.name)
        };
        let found = mistakes.iter().any(|mistake| mistake.variable == variable.name && mistake.what == "is not UTF-8");
        assert!(found, "{} is not read", variable.name);
    }
}
