//! The exact event request as a command, with every secret masked.

use std::fmt::Write as _;

use reqwest::header::AUTHORIZATION;

use crate::http::{Request, shown};
use crate::redaction::MASK;

/// A `curl` command line for a POSIX shell.
#[must_use]
pub fn curl(request: &Request) -> String {
    let mut command = format!("curl --request {} {}", request.method, quoted(&request.url));
    let _ = write!(
        command,
        " \\\n  --header {}",
        quoted(&format!("{AUTHORIZATION}: DPoP {MASK}"))
    );
    for (name, value) in &request.headers {
        let _ = write!(
            command,
            " \\\n  --header {}",
            quoted(&format!("{name}: {}", shown(value)))
        );
    }
    let _ = write!(
        command,
        " \\\n  --data-raw {}",
        quoted(&String::from_utf8_lossy(&request.body))
    );
    command
}

/// In single quotes, in which a shell reads nothing but the closing one.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_in_a_value_does_not_end_the_argument() {
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
