//! The receiver: one conversation with it, from the exchange of the step token to the receipt of the event.
//!
//! Belongs here: requests to the receiver, its answers, and what they mean for the next try. Not here: what a user is told
//! about them, which is the `report` room's.

mod authentication;
mod client;
mod delivery;
mod error;
mod marks;
mod polling;
mod receipt;
mod refusal;
mod refusal_code;
mod token_exchange;

pub use authentication::{Authenticate, Authorization, Challenge, DpopProofs};
pub use client::Client;
pub use delivery::{Delivery, Patience, deliver, event_request};
pub use error::{AnswerError, DeliveryError, Ending, GaveUp, LONGEST_ERROR, Stage, TryError};
pub use marks::{AuditAnchor, TraceId};
pub use receipt::{Receipt, State};
pub use refusal::{Answers, Check, Code, Refusal, or_nothing};
pub use refusal_code::RefusalCode;
