//! The step's identity: its OIDC token as far as it can be read without verifying it, its key, and proofs with that key.
//!
//! Belongs here: everything that says or proves who the pipe is. Not here: how a token is exchanged, which is the
//! `receiver` room's. Nothing here trusts a token: only the receiver verifies it.

mod dpop;
mod es256;
mod oidc_token;
mod step_key;

pub use dpop::{ProofFor, sign_proof, unix_now};
pub use oidc_token::{IdentityError, UnverifiedClaims};
pub use step_key::{Origin, StepKey};
