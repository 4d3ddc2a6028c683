//! What authenticates the pipe at Bitbucket's API. The step token does not: Bitbucket refuses it there.

use secrecy::SecretString;

/// A credential, of one of the three kinds that Bitbucket takes.
pub enum BitbucketCredentials {
    /// `ATLASSIAN_ACCOUNT_EMAIL` and `ATLASSIAN_API_TOKEN`: Basic.
    ApiToken { email: String, token: SecretString },
    /// `BITBUCKET_ACCESS_TOKEN`: Bearer.
    AccessToken(SecretString),
    /// `BITBUCKET_CLIENT_ID` and `BITBUCKET_CLIENT_SECRET`: OAuth 2.0 client credentials.
    OAuthConsumer { id: String, secret: SecretString },
}

impl BitbucketCredentials {
    /// Return the variable that a reader of the log would look for.
    pub fn variable(&self) -> &'static str {
        match self {
            Self::ApiToken { .. } => "ATLASSIAN_API_TOKEN",
            Self::AccessToken(_) => "BITBUCKET_ACCESS_TOKEN",
            Self::OAuthConsumer { .. } => "BITBUCKET_CLIENT_ID",
        }
    }
}
