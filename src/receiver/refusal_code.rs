//! The codes of the receiver's refusals. Contract: `docs/protocol.md`, Refusals; `test/crate/refusal_codes.rs` compares
//! them with the receiver's own table and with `docs/troubleshooting.md`.

use std::fmt;

macro_rules! refusal_codes {
    ($($name:ident = $text:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RefusalCode {
            $($name,)*
        }

        impl RefusalCode {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusal_codes! {
    TokenRequestMalformed = "token-request-malformed",
    ResourceMismatch = "resource-mismatch",
    StepTokenMalformed = "step-token-malformed",
    IssuerUnknown = "issuer-unknown",
    StepTokenSignatureInvalid = "step-token-signature-invalid",
    StepTokenExpired = "step-token-expired",
    StepTokenNotYetValid = "step-token-not-yet-valid",
    StepTokenLifetimeExceeded = "step-token-lifetime-exceeded",
    AudienceMismatch = "audience-mismatch",
    ClaimsMissing = "claims-missing",
    UserTokenNotTaken = "user-token-not-taken",
    NoGrantMatches = "no-grant-matches",
    ScopeNotGranted = "scope-not-granted",
    IssuerAuditOnly = "issuer-audit-only",
    StepTokenAlreadyBound = "step-token-already-bound",
    IssuerUnavailable = "issuer-unavailable",
    ProofMissing = "proof-missing",
    ProofInvalid = "proof-invalid",
    ProofReplayed = "proof-replayed",
    TokenMissing = "token-missing",
    TokenInvalid = "token-invalid",
    TokenExpired = "token-expired",
    KeyMismatch = "key-mismatch",
    DigestMismatch = "digest-mismatch",
    SignatureMissing = "signature-missing",
    SignatureInvalid = "signature-invalid",
    TimestampOutOfWindow = "timestamp-out-of-window",
    BodyTimeout = "body-timeout",
    PayloadTooLarge = "payload-too-large",
    EventMalformed = "event-malformed",
    EventNotHandled = "event-not-handled",
    IdentityMismatch = "identity-mismatch",
    ScopeMissing = "scope-missing",
    EventConflict = "event-conflict",
    EventNotFound = "event-not-found",
    ReceiptDamaged = "receipt-damaged",
    StoreUnavailable = "store-unavailable",
}

impl RefusalCode {
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
