//! The process environment, read once, with every mistake collected instead of the first one thrown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// One thing that is wrong with a variable, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable's name.
    pub variable: &'static str,
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
    pub fn add(&mut self, variable: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Mistake {
            variable,
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
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes what can be read as text. `std::env::vars` would panic on the rest; no variable of ours can be meant by it.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(
            variables
                .into_iter()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(_, value)| !value.trim().is_empty())
                .collect(),
        )
    }

    /// Deserialises the variables with `envy`, each field being an `Option<String>` named like its variable in lower case.
    ///
    /// # Panics
    /// Never: a struct of `Option<String>` has no way to fail.
    #[must_use]
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> T {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.clone(), value.trim().to_owned()));
        envy::from_iter(pairs).expect("optional text always deserialises")
    }

    /// A list variable: Pipelines passes `X: [a, b]` as `X_COUNT=2`, `X_0=a`, `X_1=b`.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let count = self
            .0
            .get(&format!("{name}_COUNT"))
            .and_then(|count| count.trim().parse::<usize>().ok())
            .unwrap_or(0)
            .min(100);
        (0..count)
            .filter_map(|at| self.0.get(&format!("{name}_{at}")))
            .map(|value| value.trim().to_owned())
            .collect()
    }
}
