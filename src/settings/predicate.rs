//! `EVENT`: what happened to the service.

/// A predicate of CDEvents' service events.
/// Source: <https://github.com/cdevents/spec/blob/main/continuous-deployment.md>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// A new instance runs.
    Deployed,
    /// A running instance was replaced by a newer one.
    Upgraded,
    /// A running instance was replaced by an older one.
    Rolledback,
    /// The service runs no more.
    Removed,
    /// The service can be reached by its users.
    Published,
}

impl Predicate {
    pub const ALL: [Self; 5] = [Self::Deployed, Self::Upgraded, Self::Rolledback, Self::Removed, Self::Published];

    /// Read `deployed`, or `service.deployed`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("service.").unwrap_or(text);
        Self::ALL.into_iter().find(|predicate| predicate.name() == name)
    }

    /// Return the name within CDEvents, which is also what `EVENT` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Upgraded => "upgraded",
            Self::Rolledback => "rolledback",
            Self::Removed => "removed",
            Self::Published => "published",
        }
    }

    /// Return whether CDEvents wants an artifact and an environment for it.
    pub fn needs_environment(self) -> bool {
        matches!(self, Self::Deployed | Self::Upgraded | Self::Rolledback)
    }
}
