//! The checks of single variables whose value becomes something else than text: each notes its mistake and goes on.

use secrecy::SecretString;

use super::env::{Environment, Mistakes};
use super::predicate::Predicate;
use super::receiver_url::ReceiverUrl;
use super::signing_secret::SigningSecret;
use super::variables::{LONGEST_TEXT, RECEIVER, at_most};

pub(super) fn receiver(text: Option<String>, wrong: &mut Mistakes) -> Option<ReceiverUrl> {
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

pub(super) fn predicate(text: Option<&str>, wrong: &mut Mistakes) -> Option<Predicate> {
    let Some(text) = text else {
        return Some(Predicate::Deployed);
    };
    let predicate = Predicate::parse(text);
    if predicate.is_none() {
        wrong.add(
            "EVENT",
            "is not an event this pipe can send",
            format!("take one of {}", Predicate::ALL.map(Predicate::name).join(", ")),
        );
    }
    predicate
}

/// Wrap a secret, and note it for masking.
pub(super) fn secret(text: String, secrets: &mut Vec<SecretString>) -> SecretString {
    let secret = SecretString::from(text);
    secrets.push(secret.clone());
    secret
}

/// Read scope tokens (RFC 6749, section 3.3) from text, where a comma is as good as a space, or from a list.
pub(super) fn scope(environment: &Environment, text: Option<String>, wrong: &mut Mistakes) -> Option<String> {
    let mut texts = environment.list("SCOPE", wrong);
    texts.extend(text);
    if texts.is_empty() {
        return None;
    }
    let text = texts.join(" ").replace(',', " ");
    let scopes = text.split_whitespace().collect::<Vec<_>>();
    let is_scope_token =
        |scope: &&str| scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if scopes.is_empty() {
        // Sent without any, the exchange would give all that the grant gives.
        wrong.add("SCOPE", "names no scope", "name one, or leave SCOPE out to get all that is granted");
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
    if let Err((what, fix)) = at_most(&scopes, LONGEST_TEXT, RECEIVER) {
        wrong.add("SCOPE", what, fix);
    }
    Some(scopes)
}

pub(super) fn signing_secrets(
    environment: &Environment,
    single: Option<String>,
    wrong: &mut Mistakes,
    secrets: &mut Vec<SecretString>,
) -> Vec<SigningSecret> {
    let mut texts = environment.list("SIGNING_SECRET", wrong);
    if let Some(single) = single {
        texts.extend(
            single.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty()).map(str::to_owned),
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

/// No header can carry a line break: the request would go without the credential.
pub(super) fn one_line(name: &'static str, text: Option<&str>, wrong: &mut Mistakes) {
    if text.is_some_and(|text| text.contains(char::is_control)) {
        wrong.add(
            name,
            "has a line break or another control character in it",
            "put the value into the variable again, as one line",
        );
    }
}

pub(super) fn environment(name: Option<&str>, predicate: Option<Predicate>, wrong: &mut Mistakes) {
    if name.is_none() && predicate.is_some_and(Predicate::needs_environment) {
        wrong.add(
            "ENVIRONMENT",
            "is missing, and the step has no `deployment:`",
            "add `deployment: production` (or another environment) to the step, or set ENVIRONMENT",
        );
    }
}

pub(super) fn artifact_id(text: Option<&str>, wrong: &mut Mistakes) {
    if text.is_some_and(|text| !is_package_url(text)) {
        wrong.add("ARTIFACT_ID", "is not a package URL", "give a purl such as `pkg:oci/api@sha256:…`, or leave it out");
    }
}

/// `pkg:type/name…`. Source: <https://github.com/package-url/purl-spec>
fn is_package_url(text: &str) -> bool {
    text.strip_prefix("pkg:").and_then(|rest| rest.split_once('/')).is_some_and(|(kind, name)| {
        !name.is_empty()
            && kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'))
            && !text.contains(char::is_whitespace)
    })
}
