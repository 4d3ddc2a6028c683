//! The process environment, read once. Every mistake in it is collected, so that one run shows all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const LONGEST_LIST: usize = 100;

/// One thing that is wrong with a variable, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub variable: String,
    pub what: String,
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.variable, self.what, self.fix)
    }
}

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, variable: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Mistake { variable: variable.into(), what: what.into(), fix: fix.into() });
    }

    /// Return the value, and note a mistake where it is absent.
    pub(super) fn require<T>(&mut self, variable: &'static str, value: Option<T>, fix: &str) -> Option<T> {
        if value.is_none() {
            self.add(variable, "is missing", fix);
        }
        value
    }

    pub(super) fn into_vec(self) -> Vec<Mistake> {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The variables of the process. An empty value counts as absent: pipe.yml passes `default: "$NAME"`, which is empty where NAME is not set.
#[derive(Clone)]
pub struct Environment {
    values: BTreeMap<String, String>,
    unreadable: BTreeSet<String>,
}

impl Environment {
    /// Take upper-case names only, as Bitbucket's and the pipe's are: `envy` does not tell `service` from `SERVICE`.
    /// (`std::env::vars` would panic on a value that is not UTF-8.)
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self { values: BTreeMap::new(), unreadable: BTreeSet::new() };
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            if name.contains(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => {
                    environment.values.insert(name, value.trim().to_owned());
                }
                Err(_) => {
                    environment.unreadable.insert(name);
                }
            }
        }
        environment
    }

    /// Deserialise the variables with `envy`: a struct of `Option<String>`, each named like its variable in lower case.
    /// One that is there but cannot be read is a mistake: without it, the run would not do what the user said. So is a
    /// list, but for those that `may_be_lists`.
    ///
    /// # Panics
    /// Never: a struct of `Option<String>` has no way to fail.
    pub(super) fn read<T: DeserializeOwned + Serialize + Default>(
        &self,
        may_be_lists: &[&str],
        mistakes: &mut Mistakes,
    ) -> T {
        if let Ok(Value::Object(fields)) = serde_json::to_value(T::default()) {
            for name in fields.keys().map(|field| field.to_ascii_uppercase()) {
                let is_list = !self.values.contains_key(&name)
                    && self.values.contains_key(&count_of(&name))
                    && self.values.contains_key(&item_of(&name, 0));
                if is_list && !may_be_lists.contains(&name.as_str()) {
                    mistakes.add(&name, "is a list", "give one value");
                }
                self.require_readable(name, mistakes);
            }
        }
        envy::from_iter(self.values.clone()).expect("optional text always deserialises")
    }

    /// Return whether a switch is on, before anything else is known to be right.
    pub fn is_on(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Return the items of a list variable: Pipelines passes `X: [a, b]` as `X_COUNT=2`, `X_0=a`, `X_1=b`. Items may be empty, and are then
    /// absent.
    pub(super) fn list(&self, name: &str, mistakes: &mut Mistakes) -> Vec<String> {
        let Some(count) = self.values.get(&count_of(name)) else {
            return Vec::new();
        };
        let Some(count) = count.parse::<usize>().ok().filter(|count| *count <= LONGEST_LIST) else {
            if !self.values.contains_key(&item_of(name, 0)) {
                return Vec::new(); // another variable, of this name by chance
            }
            let what = format!("is not a number of items up to {LONGEST_LIST}");
            let fix = format!("leave it to Pipelines, which sets it where {name} is a list");
            mistakes.add(count_of(name), what, fix);
            return Vec::new();
        };
        let names = (0..count).map(|at| item_of(name, at));
        names
            .filter_map(|name| {
                let item = self.values.get(&name).cloned();
                self.require_readable(name, mistakes);
                item
            })
            .collect()
    }

    fn require_readable(&self, name: String, mistakes: &mut Mistakes) {
        if self.unreadable.contains(&name) {
            mistakes.add(name, "is not UTF-8", "encode it as UTF-8, or see whether a character was cut in two");
        }
    }
}

fn count_of(name: &str) -> String {
    format!("{name}_COUNT")
}

fn item_of(name: &str, at: usize) -> String {
    format!("{name}_{at}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn item_of_a_list_that_cannot_be_read_is_a_mistake_and_an_empty_one_is_absent() {
        let variables = [("X_COUNT", "3".into()), ("X_0", "a".into()), ("X_1", "".into())];
        let mut variables = variables.map(|(name, value): (&str, OsString)| (name.into(), value)).to_vec();
        variables.push(("X_2".into(), OsString::from_vec(vec![0xff])));
        let mut mistakes = Mistakes::default();
        assert_eq!(Environment::new(variables).list("X", &mut mistakes), ["a"]);
        let [mistake] = &mistakes.into_vec()[..] else {
            panic!("one mistake was expected");
        };
        assert_eq!((mistake.variable.as_str(), mistake.what.as_str()), ("X_2", "is not UTF-8"));
    }
}
