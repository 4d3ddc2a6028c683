//! What each variable may be: every check notes its mistake and goes on.

use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::environment::{Environment, Mistakes};
use crate::event::Predicate;
use crate::receiver_url::{self, ReceiverUrl};
use crate::signature::SigningSecret;
use crate::variables::ReportMode;

/// Levels of `CUSTOM_DATA`: the receiver takes 32, and three are around it.
const DEEPEST: usize = 29;
/// Characters of a text in the event, and of the scopes that are asked for.
pub(crate) const LONGEST_TEXT: usize = 1024;
/// Who takes no longer text.
pub(crate) const RECEIVER: &str = "the receiver";
pub(crate) const BITBUCKET: &str = "Bitbucket";

pub(crate) fn receiver(text: Option<String>, wrong: &mut Mistakes) -> Option<ReceiverUrl> {
    let fix = "set it to the URL where the app mounts the handoff router, for example `https://api.acme.dev/handoff`";
    match ReceiverUrl::parse(&wrong.require("RECEIVER_URL", text, fix)?) {
        Ok(url) => Some(url),
        Err(what) => {
            // The value may hold a password, so it is not shown.
            wrong.add("RECEIVER_URL", what, fix);
            None
        }
    }
}

pub(crate) fn predicate(text: Option<&str>, wrong: &mut Mistakes) -> Option<Predicate> {
    let Some(text) = text else {
        return Some(Predicate::Deployed);
    };
    let predicate = Predicate::parse(text);
    if predicate.is_none() {
        wrong.add(
            "EVENT",
            "is not an event this pipe can send",
            format!("take one of {}", Predicate::NAMES.join(", ")),
        );
    }
    predicate
}

pub(crate) fn report(text: Option<&str>, wrong: &mut Mistakes) -> ReportMode {
    match text.unwrap_or("auto") {
        "auto" => ReportMode::Auto,
        "status" => ReportMode::Status,
        "insights" => ReportMode::Insights,
        "none" => ReportMode::None,
        _ => {
            wrong.add(
                "REPORT",
                "is not a way to report",
                "take one of auto, status, insights, none",
            );
            ReportMode::None
        }
    }
}

/// `who` takes no longer text.
pub(crate) fn at_most(name: &'static str, text: Option<&str>, most: usize, who: &str, wrong: &mut Mistakes) {
    let length = text.unwrap_or_default().chars().count();
    if length > most {
        wrong.add(
            name,
            format!("has {length} characters"),
            format!("{who} takes at most {most}; shorten it, or leave it out"),
        );
    }
}

/// Wraps a secret and notes it for masking.
pub(crate) fn secret(text: String, secrets: &mut Vec<SecretString>) -> SecretString {
    let secret = SecretString::from(text);
    secrets.push(secret.clone());
    secret
}

pub(crate) fn custom_data(text: Option<&str>, wrong: &mut Mistakes) -> Option<Map<String, Value>> {
    let Some(text) = text else {
        return Some(Map::new());
    };
    let parsed = serde_json::from_str(text);
    if let Ok(value) = &parsed
        && let Some((what, fix)) = unsendable(value, 1)
    {
        wrong.add("CUSTOM_DATA", what, fix);
    }
    match parsed {
        Ok(Value::Object(map)) => Some(map),
        Ok(_) => {
            wrong.add(
                "CUSTOM_DATA",
                "is JSON, but not an object",
                "give an object such as `{\"ticket\": \"OPS-1\"}`",
            );
            None
        }
        Err(error) => {
            wrong.add(
                "CUSTOM_DATA",
                format!("is not JSON: {error}"),
                "try it with `jq`, and quote it whole in single quotes: Pipelines passes values through a shell",
            );
            None
        }
    }
}

/// What the receiver would refuse: it takes only what every reader of JSON reads alike (RFC 7493).
fn unsendable(value: &Value, level: usize) -> Option<(&'static str, &'static str)> {
    const NUL: (&str, &str) = ("has a NUL character", "leave it out: no database would take it");
    let mut children: Box<dyn Iterator<Item = &Value>> = match value {
        Value::String(text) => return text.contains('\0').then_some(NUL),
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) if members.keys().any(|name| name.contains('\0')) => return Some(NUL),
        Value::Object(members) => Box::new(members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    if level > DEEPEST {
        return Some(("is nested too deep", "nest at most 29 levels"));
    }
    children.find_map(|child| unsendable(child, level + 1))
}

/// Scope tokens by RFC 6749, section 3.3; commas are taken for spaces. A list is taken, too.
pub(crate) fn scope(environment: &Environment, text: Option<String>, wrong: &mut Mistakes) -> Option<String> {
    let mut texts = environment.list("SCOPE", wrong);
    texts.extend(text);
    if texts.is_empty() {
        return None;
    }
    let text = texts.join(" ").replace(',', " ");
    let scopes = text.split_whitespace().collect::<Vec<_>>();
    let is_scope_token = |scope: &&str| {
        scope
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    if scopes.is_empty() {
        // Sent without any, the exchange would give all that the grant gives.
        wrong.add(
            "SCOPE",
            "names no scope",
            "name one, or leave SCOPE out to get all that is granted",
        );
        return None;
    }
    if !scopes.iter().all(is_scope_token) {
        wrong.add(
            "SCOPE",
            "has characters that no scope may have",
            "give names such as `deployments:write`, separated by a space",
        );
        return None;
    }
    let scopes = scopes.join(" ");
    at_most("SCOPE", Some(&scopes), LONGEST_TEXT, RECEIVER, wrong);
    Some(scopes)
}

pub(crate) fn signing_secrets(
    environment: &Environment,
    single: Option<String>,
    wrong: &mut Mistakes,
    secrets: &mut Vec<SecretString>,
) -> Vec<SigningSecret> {
    let mut texts = environment.list("SIGNING_SECRET", wrong);
    if let Some(single) = single {
        texts.extend(
            single
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        );
    }
    texts
        .into_iter()
        .filter_map(|text| {
            if let Some(encoded) = text.strip_prefix("whsec_") {
                secrets.push(SecretString::from(encoded.to_owned()));
            }
            match SigningSecret::parse(&secret(text, secrets)) {
                Ok(secret) => Some(secret),
                Err(what) => {
                    wrong.add(
                        "SIGNING_SECRET",
                        what,
                        "give the receiver's secret as it is, `whsec_…`; several as a list while they are rotated",
                    );
                    None
                }
            }
        })
        .collect()
}

pub(crate) fn seconds(
    name: &'static str,
    text: Option<&str>,
    default: u64,
    range: RangeInclusive<u64>,
    wrong: &mut Mistakes,
) -> Duration {
    let value = match text.map(str::parse::<u64>) {
        None => default,
        Some(Ok(value)) if range.contains(&value) => value,
        Some(_) => {
            wrong.add(
                name,
                "is not a number of seconds in the range",
                format!("give a whole number from {} to {}", range.start(), range.end()),
            );
            default
        }
    };
    Duration::from_secs(value)
}

pub(crate) fn switch(name: &'static str, text: Option<String>, wrong: &mut Mistakes) -> bool {
    match text.map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            wrong.add(
                name,
                "is neither true nor false",
                "write `'true'` or `'false'`, in quotes",
            );
            false
        }
    }
}

pub(crate) fn endpoint(name: &'static str, text: Option<String>, default: &str, wrong: &mut Mistakes) -> String {
    let Some(text) = text else {
        return default.to_owned();
    };
    if let Err(what) = receiver_url::checked(&text) {
        wrong.add(name, what, "leave it out: it is for tests only");
    }
    text.trim_end_matches('/').to_owned()
}

/// No PEM file is larger, and a device could be endless.
const LARGEST_FILE: u64 = 1024 * 1024;

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The PEM itself, or the path of a file that holds it.
pub(crate) fn ca_certificates(value: Option<String>, wrong: &mut Mistakes) -> Vec<CertificateDer<'static>> {
    let Some(value) = value else {
        return Vec::new();
    };
    let pem = if value.contains("-----BEGIN") {
        // A value that went through a shell may hold its line breaks as `\n`.
        value.replace("\\n", "\n").into_bytes()
    } else {
        match read_file(&value) {
            Ok(pem) => pem,
            Err(error) => {
                wrong.add(
                    "CA_CERTIFICATE",
                    format!("is neither PEM nor a file that can be read ({})", error.kind()),
                    "give the certificate as PEM, or the path of a PEM file below the clone directory",
                );
                return Vec::new();
            }
        }
    };
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => certificates,
        _ => {
            wrong.add(
                "CA_CERTIFICATE",
                "holds no certificate in PEM",
                "give the whole text from `-----BEGIN CERTIFICATE-----` on",
            );
            Vec::new()
        }
    }
}

/// What the file system says no to now, it would say no to after the deployment.
pub(crate) fn receipt_file(path: Option<&str>, wrong: &mut Mistakes) {
    let Some(path) = path.map(Path::new) else {
        return;
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Not what a link leads to: the link is replaced.
    let what = match std::fs::symlink_metadata(path) {
        _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => "is a directory".to_owned(),
        Ok(there) if there.is_dir() => "is a directory".to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => format!("cannot be written ({})", error.kind()),
        Err(_) if folder.is_some_and(|folder| !folder.is_dir()) => "is in a directory that is not there".to_owned(),
        Ok(_) | Err(_) => return,
    };
    wrong.add(
        "RECEIPT_FILE",
        what,
        "give a file's path below the clone directory, in a directory that is there",
    );
}

/// No header can carry a line break: the request would go without the credential.
pub(crate) fn one_line(name: &'static str, text: Option<&str>, wrong: &mut Mistakes) {
    if text.is_some_and(|text| text.contains(char::is_control)) {
        wrong.add(
            name,
            "has a line break or another control character in it",
            "put the value into the variable again, as one line",
        );
    }
}

/// The key is part of a path of Bitbucket's API, where these two would lead elsewhere.
pub(crate) fn no_path(name: &'static str, text: Option<&str>, wrong: &mut Mistakes) {
    if matches!(text, Some("." | "..")) {
        wrong.add(
            name,
            "is no name",
            "leave it out to get one made from service and environment",
        );
    }
}

pub(crate) fn environment(name: Option<&str>, predicate: Option<Predicate>, wrong: &mut Mistakes) {
    if name.is_none() && predicate.is_some_and(Predicate::needs_environment) {
        wrong.add(
            "ENVIRONMENT",
            "is missing, and the step has no `deployment:`",
            "add `deployment: production` (or another environment) to the step, or set ENVIRONMENT",
        );
    }
}

pub(crate) fn artifact_id(text: Option<&str>, wrong: &mut Mistakes) {
    if text.is_some_and(|text| !is_package_url(text)) {
        wrong.add(
            "ARTIFACT_ID",
            "is not a package URL",
            "give a purl such as `pkg:oci/api@sha256:…`, or leave it out",
        );
    }
}

/// `pkg:type/name…`. Source: <https://github.com/package-url/purl-spec>
fn is_package_url(text: &str) -> bool {
    text.strip_prefix("pkg:")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(kind, name)| {
            !name.is_empty()
                && kind.starts_with(|c: char| c.is_ascii_alphabetic())
                && kind
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'))
                && !text.contains(char::is_whitespace)
        })
}
