//! The process environment, read once, with every mistake collected instead of the first one thrown.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One thing that is wrong with a variable, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable's name.
    pub variable: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.variable, self.what, self.fix)
    }
}

/// Collects mistakes while values are checked.
#[derive(Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Notes one.
    pub fn add(&mut self, variable: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Mistake {
            variable: variable.into(),
            what: what.into(),
            fix: fix.into(),
        });
    }

    /// The value where it is there; otherwise a mistake is noted.
    pub fn require<T>(&mut self, variable: &'static str, value: Option<T>, fix: &str) -> Option<T> {
        if value.is_none() {
            self.add(variable, "is missing", fix);
        }
        value
    }

    /// All that were noted.
    #[must_use]
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names and values. An empty value counts as absent: pipe.yml passes `default: "$NAME"`, which is empty where NAME is not set.
#[derive(Clone)]
pub struct Environment {
    values: BTreeMap<String, String>,
    unreadable: BTreeSet<String>,
}

impl Environment {
    /// Takes upper-case names only, as Bitbucket's and the pipe's are: `envy` does not tell `service` from `SERVICE`.
    /// (`std::env::vars` would panic on a value that is not UTF-8.)
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self {
            values: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        };
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

    /// Deserialises the variables with `envy`: a struct of `Option<String>`, each named like its variable in lower case.
    /// One that is there but cannot be read is a mistake: without it, the run would not do what the user said.
    ///
    /// # Panics
    /// Never: a struct of `Option<String>` has no way to fail.
    pub fn read<T: DeserializeOwned + Serialize + Default>(&self, mistakes: &mut Mistakes) -> T {
        if let Ok(Value::Object(fields)) = serde_json::to_value(T::default()) {
            for name in fields.keys().map(|field| field.to_ascii_uppercase()) {
                if self.unreadable.contains(&name) {
                    mistakes.add(
                        name,
                        "is not UTF-8",
                        "encode it as UTF-8, or see whether a character was cut in two",
                    );
                }
            }
        }
        envy::from_iter(self.values.clone()).expect("optional text always deserialises")
    }

    /// Whether a switch is on, before anything else is known to be right.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A list variable: Pipelines passes `X: [a, b]` as `X_COUNT=2`, `X_0=a`, `X_1=b`.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let count = self
            .values
            .get(&format!("{name}_COUNT"))
            .and_then(|count| count.trim().parse::<usize>().ok())
            .unwrap_or(0)
            .min(100);
        (0..count)
            .filter_map(|at| self.values.get(&format!("{name}_{at}")).cloned())
            .collect()
    }
}
