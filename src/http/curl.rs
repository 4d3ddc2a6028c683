//! A request as a command, with every secret masked.

use std::fmt::Write as _;

use super::message::{Request, shown};

impl Request {
    /// Return a `curl` command line for a POSIX shell.
    pub fn as_curl(&self) -> String {
        let mut command = format!("curl --request {} {}", self.method, quoted(&self.url));
        for (name, value) in &self.headers {
            let header = format!("{name}: {}", shown(value));
            let _ = write!(command, " \\\n  --header {}", quoted(&header));
        }
        let body = String::from_utf8_lossy(&self.body);
        let _ = write!(command, " \\\n  --data-raw {}", quoted(&body));
        command
    }
}

/// Put text into single quotes, in which a shell reads nothing but the closing one.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

    use super::*;

    #[test]
    fn each_header_is_there_once_and_a_secret_one_is_masked() {
        let request = Request::new(Method::POST, "https://a.b/events")
            .header(CONTENT_TYPE, "text/plain")
            .secret_header(AUTHORIZATION, "DPoP secret")
            .body(b"it's".to_vec());
        assert_eq!(
            request.as_curl(),
            "curl --request POST 'https://a.b/events' \\\n  --header 'content-type: text/plain' \\\n  \
             --header 'authorization: ***' \\\n  --data-raw 'it'\\''s'"
        );
    }

    #[test]
    fn quote_in_a_value_does_not_end_the_argument() {
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
