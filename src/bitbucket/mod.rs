//! Bitbucket's own API: how requests to it are authorized, sent and tried again, and why it refuses them.
//!
//! Belongs here: what is true of any request to Bitbucket. Not here: what the commit is told, which is the `report`
//! room's. Source: <https://developer.atlassian.com/cloud/bitbucket/rest/intro/>

mod api;
mod credentials;
mod error;

pub use api::{Api, Expected, Taken};
pub use error::{BitbucketError, SendError};
