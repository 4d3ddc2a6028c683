//! HTTP: one client, its requests and answers, why no answer came, and when to try again.
//!
//! Belongs here: everything that is true of any HTTP server. Not here: what a receiver's or Bitbucket's answer means, and
//! what a user can do about it.

mod client;
mod curl;
mod error;
mod hosts;
mod message;
mod retry;

pub use client::{Http, Options, Route};
pub use error::{HttpError, HttpSetupError, TlsProblem};
pub use message::{Answer, Request};
pub use retry::{Arrival, Next, Retry, When, retry_after};
