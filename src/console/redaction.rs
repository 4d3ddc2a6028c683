//! Masks every known secret in every form it could return in, and makes foreign text printable.
//!
//! Bitbucket masks secured variables by exact match only, and the step token not at all. A receiver (or a proxy in between)
//! may echo what it was sent, so masking is the last step before any byte is written anywhere.

use super::needles::Needles;

/// What stands where a secret stood.
pub const MASK: &str = "***";
/// The length from which text that starts like a JSON object in base64url is taken for (a piece of) a JWT.
const SHORTEST_JWT: usize = 20;

/// How often encodings may be stacked: percent-encoding inside JSON inside percent-encoding.
const DEEPEST: usize = 3;

/// The secrets that are masked.
#[derive(Default)]
pub(super) struct Redactor {
    secrets: Needles,
    /// The newest proof only: a run makes one for each request, and everything about a request is written before the next one.
    proof: Needles,
}

/// A character of a text as it reads after decoding, and where in the text it stands.
#[derive(Clone, Copy)]
struct Seen {
    c: char,
    from: usize,
    to: usize,
}

impl Redactor {
    /// Mask `secret` from now on.
    pub(super) fn hide(&mut self, secret: &str) {
        self.secrets.hide(secret);
    }

    /// Mask a proof until the next one is made.
    pub(super) fn hide_proof(&mut self, proof: &str) {
        self.proof = Needles::default();
        self.proof.hide(proof);
    }

    /// Return the text with every secret masked and nothing in it that a terminal would act on. Line breaks stay.
    pub(super) fn clean(&self, text: &str) -> String {
        let printable =
            text.chars().map(|c| if c == '\n' || !acts_on_terminal(c) { c } else { ' ' }).collect::<Vec<_>>();
        let mut masked = vec![false; printable.len()];
        mask_jwts(&printable, &mut masked);
        // Looked for without white space, so that a secret split over lines is found; then again as the text reads after
        // undoing percent-encoding and the escapes of JSON and HTML, so that no form of a receiver's echo escapes.
        let mut view = printable
            .iter()
            .enumerate()
            .filter(|(_, c)| !c.is_whitespace())
            .map(|(at, c)| Seen { c: *c, from: at, to: at })
            .collect::<Vec<_>>();
        for _ in 0..DEEPEST {
            self.mask(&view, &mut masked);
            let decoded = decode(&view);
            if decoded.len() == view.len() {
                break;
            }
            view = decoded;
        }
        let mut clean = String::with_capacity(text.len());
        for (at, c) in printable.iter().enumerate() {
            if !masked[at] {
                clean.push(*c);
            } else if at == 0 || !masked[at - 1] {
                clean.push_str(MASK);
            }
        }
        clean
    }

    fn mask(&self, view: &[Seen], masked: &mut [bool]) {
        for at in 0..view.len() {
            let first = view[at].c;
            for start in
                [first, first.to_ascii_lowercase()].into_iter().take(if first.is_ascii_uppercase() { 2 } else { 1 })
            {
                for needle in [&self.secrets, &self.proof].into_iter().flat_map(|needles| needles.starting_with(start))
                {
                    let Some(window) = view.get(at..at + needle.text.len()) else {
                        continue;
                    };
                    let found = window.iter().zip(&needle.text).all(|(seen, n)| fold(seen.c, needle.ignore_case) == *n);
                    if found {
                        masked[window[0].from..=window[window.len() - 1].to].fill(true);
                    }
                }
            }
        }
    }

    /// Return the clean text on one line of at most `length` characters. It is cut after masking: a cut secret would not be found.
    pub(super) fn clean_line(&self, text: &str, length: usize) -> String {
        let line = self.clean(text).replace('\n', " ");
        if line.chars().count() <= length {
            return line;
        }
        line.chars().take(length.saturating_sub(1)).chain(['…']).collect()
    }
}

/// Undo one layer of `%2F`, `\\/`, `\\u002f`, `&#47;`, `&#x2f;` and `&amp;`, and leave out the white space among what they stood for.
fn decode(view: &[Seen]) -> Vec<Seen> {
    let mut decoded = Vec::with_capacity(view.len());
    let mut at = 0;
    while at < view.len() {
        let rest = &view[at..];
        let (c, length) = decode_first(rest).unwrap_or((rest[0].c, 1));
        if !c.is_whitespace() {
            decoded.push(Seen { c, from: rest[0].from, to: rest[length - 1].to });
        }
        at += length;
    }
    decoded
}

fn decode_first(rest: &[Seen]) -> Option<(char, usize)> {
    let at = |index: usize| rest.get(index).map(|seen| seen.c);
    let number = |from: usize, to: usize, radix: u32| {
        let digits = rest.get(from..to)?.iter().map(|seen| seen.c).collect::<String>();
        // Bytes of UTF-8 come out as other characters than they are, but secrets are ASCII.
        u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
    };
    match (at(0)?, at(1)?) {
        ('%', _) => Some((number(1, 3, 16)?, 3)),
        ('\\', 'u') => Some((number(2, 6, 16)?, 6)),
        ('\\', 'n' | 'r' | 't' | 'b' | 'f') => Some((' ', 2)),
        ('\\', c) => Some((c, 2)),
        ('&', _) => {
            let end = rest.iter().take(10).position(|seen| seen.c == ';')?;
            let name = rest[1..end].iter().map(|seen| seen.c).collect::<String>();
            let c = match name.as_str() {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ if name.starts_with("#x") || name.starts_with("#X") => number(3, end, 16)?,
                _ if name.starts_with('#') => number(2, end, 10)?,
                _ => return None,
            };
            Some((c, end + 1))
        }
        _ => None,
    }
}

/// Mask what looks like a JWT, known or not: an answer may carry tokens the pipe has never seen, or the beginning of one it has.
fn mask_jwts(text: &[char], masked: &mut [bool]) {
    let in_jwt = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut at = 0;
    while at + 3 <= text.len() {
        if text[at..].starts_with(&['e', 'y', 'J']) {
            let length = text[at..].iter().take_while(|c| in_jwt(**c)).count();
            if length >= SHORTEST_JWT {
                masked[at..at + length].fill(true);
            }
            at += length;
        } else {
            at += 1;
        }
    }
}

/// Control characters move the cursor and change colours; the bidirectional ones make text read other than it is.
fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn fold(c: char, ignore_case: bool) -> char {
    if ignore_case { c.to_ascii_lowercase() } else { c }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::hex;

    fn redactor(secret: &str) -> Redactor {
        let mut redactor = Redactor::default();
        redactor.hide(secret);
        redactor
    }

    #[test]
    fn secret_inside_basic_credentials_is_masked() {
        let header = STANDARD_NO_PAD.encode("someone@acme.dev:ATATT3xFfGF0-secret");
        let clean = redactor("ATATT3xFfGF0-secret").clean(&header);
        assert!(clean.contains(MASK), "{clean}");
        assert!(!clean.contains(&header[30..]), "{clean}");
    }

    #[test]
    fn jwt_is_masked_whole_and_in_every_form() {
        let token =
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2FwaS5iaXRidWNrZXQub3JnIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
        let redactor = redactor(token);
        for form in [
            token.to_owned(),
            hex(token.as_bytes()),
            STANDARD_NO_PAD.encode(token),
            URL_SAFE_NO_PAD.encode(format!("x{token}")),
            token.replace('.', "%2E"),
        ] {
            let clean = redactor.clean(&format!("[{form}]"));
            assert!(clean.contains(MASK) && clean.len() < 80, "{clean}");
        }
    }

    #[test]
    fn beginning_of_an_unknown_jwt_is_masked() {
        let clean = Redactor::default().clean("bad token `eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3`");
        assert_eq!(clean, "bad token `***`");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let clean = Redactor::default().clean("a\u{1b}[31mb\u{202e}c\rd\ne");
        assert_eq!(clean, "a [31mb c d\ne");
    }

    #[test]
    fn text_is_cut_after_it_was_masked() {
        let clean = redactor("s3cr3t-s3cr3t").clean_line("see s3cr3t-s3cr3t there", 12);
        assert_eq!(clean, "see *** the…");
    }

    /// The forms a secret came back in when it was tried: each had leaked once.
    #[test]
    fn secret_is_found_in_every_encoding_an_echo_uses() {
        let secret = "whsec_+7//v0A=bC9/d+eF";
        let halves = (&secret[..9], &secret[9..]);
        for echo in [
            "whsec_%2B7//v0A%3DbC9/d%2BeF".to_owned(),
            "whsec_%2b7%2f%2fv0A%3dbC9%2fd%2beF".to_owned(),
            "whsec_%252B7%252F%252Fv0A%253DbC9%252Fd%252BeF".to_owned(),
            r"whsec_+7\/\/v0A=bC9\/d+eF".to_owned(),
            r"whsec_\u002b7\u002F/v0A\u003dbC9/d+eF".to_owned(),
            "whsec_+7//v0A&#61;bC9&#x2f;d+eF".to_owned(),
            format!(r#"{{"detail": "{}\n{}"}}"#, halves.0, halves.1),
            format!(r#"{{"detail": "{}\r\n\t{}"}}"#, halves.0, halves.1),
            format!("{}\r\n {}", halves.0, halves.1),
        ] {
            let clean = redactor(secret).clean(&echo);
            assert!(clean.contains(MASK) && !clean.contains("v0A") && !clean.contains("eF"), "{echo} became {clean}");
        }
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_survives(secret in "[!-~]{12,60}", before in "[ -~]{0,9}", after in "[ -~]{0,9}", split in 1usize..11) {
            let redactor = redactor(&secret);
            let whole = format!("{before}{secret}{after}");
            let form_encoded = form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
            let broken = format!("{}\n  {}", &secret[..split], &secret[split..]);
            for form in [secret.clone(), form_encoded, hex(secret.as_bytes()), hex(secret.as_bytes()).to_uppercase(), broken.clone()] {
                let clean = redactor.clean(&format!("[{before}] {form} [{after}]"));
                prop_assert!(!clean.contains(&form), "{clean}");
            }
            for encoded in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                let clean = redactor.clean(&encoded);
                prop_assert!(clean.contains(MASK), "{clean}");
                // What is left are the neighbours and the two characters that the secret shares with them.
                prop_assert!(clean.len() <= MASK.len() + (before.len() + after.len()) * 4 / 3 + 6, "{clean}");
            }
        }

        #[test]
        fn cleaning_never_panics_and_never_grows_without_bound(text in "\\PC{0,200}", secret in "\\PC{0,30}") {
            let clean = redactor(&secret).clean(&text);
            prop_assert!(clean.chars().count() <= 3 * text.chars().count().max(1));
        }
    }
}
