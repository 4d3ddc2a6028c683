//! `RECEIVER_URL`: what the audience, the proofs and the requests are all made from.

use std::fmt;

use reqwest::Url;

/// `RECEIVER_URL`, checked and in the one form that both sides compare character for character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverUrl(String);

impl ReceiverUrl {
    /// Parse and normalise: lower-case scheme and host, no default port, no trailing slash.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = checked(text)?;
        if url.path().ends_with("//") {
            return Err("ends with more than one slash");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment");
        }
        let text = url.as_str();
        Ok(Self(text.strip_suffix('/').unwrap_or(text).to_owned()))
    }

    /// Return the text that both sides compare.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `{RECEIVER_URL}/token`
    pub fn token(&self) -> String {
        format!("{}/token", self.0)
    }

    /// `{RECEIVER_URL}/events`
    pub fn events(&self) -> String {
        format!("{}/events", self.0)
    }

    /// `{RECEIVER_URL}/events/{id}`
    pub fn event(&self, id: &str) -> String {
        format!("{}/events/{id}", self.0)
    }
}

impl fmt::Display for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Read a URL that requests with credentials may go to: `https`, or plain `http` where the bytes do not leave the machine.
pub(super) fn checked(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| {
        if text.is_ascii() {
            "is not a URL"
        } else {
            "is not a URL in ASCII (write a host name of other letters in punycode, `xn--…`)"
        }
    })?;
    let Some(host) = url.host_str() else {
        return Err("has no host");
    };
    if !url.username().is_empty() || url.password().is_some() {
        // It would end up in logs and in the audience.
        return Err("has a user name or password in it");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if stays_on_machine(host) => Ok(url),
        "http" => Err("is plain `http`, which would show the token to everybody on the way"),
        _ => Err("is neither `https` nor `http`"),
    }
}

/// Return whether a host is the machine the pipe runs on: loopback, or the name under which a pipe's container reaches its step.
fn stays_on_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    matches!(host, "localhost" | "host.docker.internal")
        || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_brought_into_the_form_both_sides_compare() {
        for (given, expected) in [
            ("https://API.acme.dev:443/handoff/", "https://api.acme.dev/handoff"),
            ("https://api.acme.dev", "https://api.acme.dev"),
            ("http://host.docker.internal:8000/handoff", "http://host.docker.internal:8000/handoff"),
            ("http://[::1]:8000/handoff", "http://[::1]:8000/handoff"),
        ] {
            assert_eq!(ReceiverUrl::parse(given).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn url_that_would_leak_or_mislead_is_refused() {
        for given in [
            "http://api.acme.dev/handoff",
            "http://127.0.0.1.acme.dev/handoff",
            "https://user:secret@api.acme.dev/handoff",
            "https://api.acme.dev/handoff?x=1",
            "https://api.acme.dev/handoff#x",
            "https://api.acme.dev/handoff//",
            "ftp://api.acme.dev/handoff",
            "api.acme.dev/handoff",
        ] {
            assert!(ReceiverUrl::parse(given).is_err(), "{given}");
        }
    }
}
