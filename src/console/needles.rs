//! The forms in which a secret could come back: as it is, percent-encoded, in hex, and within base64.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::crypto::hex;

/// A shorter secret is not masked: masking a few common letters would only garble the log and tell where they are.
const SHORTEST_SECRET: usize = 6;
/// The texts to look for, by their first character.
#[derive(Default)]
pub(super) struct Needles(HashMap<char, Vec<Needle>>);

pub(super) struct Needle {
    pub(super) text: Vec<char>,
    pub(super) ignore_case: bool,
}

impl Needles {
    pub(super) fn starting_with(&self, first: char) -> &[Needle] {
        self.0.get(&first).map(Vec::as_slice).unwrap_or_default()
    }

    /// Look for a secret as it is, in base64, base64url and hex; for a JWT, part by part.
    pub(super) fn hide(&mut self, secret: &str) {
        let parts = secret.split('.').collect::<Vec<_>>();
        if parts.len() == 3 && parts[0].starts_with("eyJ") {
            // The header is the same for many tokens and says nothing; payload and signature are what must not leak. Every form
            // of the whole holds these two in the same form.
            self.hide_forms(parts[1]);
            self.hide_forms(parts[2]);
        } else {
            self.hide_forms(secret);
        }
    }

    fn hide_forms(&mut self, secret: &str) {
        if secret.len() < SHORTEST_SECRET {
            return;
        }
        let bytes = secret.as_bytes();
        self.add(secret.chars().filter(|c| !c.is_whitespace()).collect(), false);
        self.add(ascii(&hex(bytes)), true);
        // A space as `+`; all else of this encoding is decoded before the search.
        let form = form_urlencoded::byte_serialize(bytes).collect::<String>();
        self.add(ascii(&form.to_ascii_lowercase()), true);
        // Inside a longer text that was encoded whole, a secret starts at one of three positions of base64's groups.
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(bytes);
            let first_own = (before * 8).div_ceil(6);
            let last_own = (before + bytes.len()) * 8 / 6;
            let text = STANDARD_NO_PAD.encode(&padded);
            let own = &text[first_own..last_own];
            self.add(ascii(own), false);
            if own.contains(['+', '/']) {
                self.add(ascii(&own.replace('+', "-").replace('/', "_")), false);
            }
        }
    }

    /// `text` has no white space, and is in lower case where case is ignored.
    fn add(&mut self, text: Vec<char>, ignore_case: bool) {
        if text.len() < SHORTEST_SECRET {
            return;
        }
        let same_start = self.0.entry(text[0]).or_default();
        if !same_start.iter().any(|n| n.text == text && n.ignore_case == ignore_case) {
            same_start.push(Needle { text, ignore_case });
        }
    }
}

/// The characters of an encoding, which are ASCII: no need to look for the end of each.
fn ascii(text: &str) -> Vec<char> {
    text.bytes().map(char::from).collect()
}
