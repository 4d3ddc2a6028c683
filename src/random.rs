//! Unguessable names and the jitter of retries, from the one crypto library.

use aws_lc_rs::rand;

use crate::redaction::hex;

/// `BYTES` random bytes.
///
/// # Panics
/// Where the operating system has no random numbers; nothing could be signed then either.
#[must_use]
pub fn bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}

/// `2 × BYTES` hex digits.
#[must_use]
pub fn token<const BYTES: usize>() -> String {
    hex(&bytes::<BYTES>())
}

/// A number from 0 to 1, spread evenly enough for jitter.
#[must_use]
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / f64::from(u32::MAX)
}
