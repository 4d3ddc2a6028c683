//! The exact event request as a command, with every secret masked.

use std::fmt::Write as _;

use crate::http::{Request, shown};

/// A `curl` command line for a POSIX shell.
#[must_use]
pub fn curl(request: &Request) -> String {
    let mut command = format!("curl --request {} {}", request.method, quoted(&request.url));
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
    use reqwest::Method;
    use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

    #[test]
    fn each_header_is_there_once_and_a_secret_one_is_masked() {
        let request = Request::new(Method::POST, "https://a.b/events")
            .header(CONTENT_TYPE, "text/plain")
            .secret_header(AUTHORIZATION, "DPoP secret")
            .body(b"it's".to_vec());
        assert_eq!(
            curl(&request),
            "curl --request POST 'https://a.b/events' \\\n  --header 'content-type: text/plain' \\\n  \
             --header 'authorization: ***' \\\n  --data-raw 'it'\\''s'"
        );
    }

    #[test]
    fn quote_in_a_value_does_not_end_the_argument() {
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
