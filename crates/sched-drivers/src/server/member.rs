//! Which servers belong together: [`ServerMember`].

use std::time::Duration;

use crate::DriverError;

/// A server of a cluster or replication group, as one of them tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMember {
    /// Its address as its cluster knows it, such as `10.0.0.7:5432`. Which instance that is the host of the scheduler
    /// knows.
    pub address: String,
    /// Its role in the words of the technology's profile, such as `primary`, `replica`, `async_standby` or `follower`.
    pub role: String,
    /// How far it is behind, where it is known.
    pub lag: Option<Duration>,
    /// Whether its cluster sees it at work.
    pub healthy: bool,
}

impl ServerMember {
    /// A healthy member of unknown lag.
    pub fn new(address: impl Into<String>, role: impl Into<String>) -> Self {
        Self { address: address.into(), role: role.into(), lag: None, healthy: true }
    }

    /// Sets how far it is behind.
    #[must_use]
    pub fn lag(mut self, lag: Duration) -> Self {
        self.lag = Some(lag);
        self
    }

    /// Sets whether its cluster sees it at work.
    #[must_use]
    pub fn healthy(mut self, healthy: bool) -> Self {
        self.healthy = healthy;
        self
    }
}

/// Tells the members of the cluster that a server belongs to.
pub trait MemberSource: Send {
    /// All members that the server knows, itself among them, in an order that does not change by itself.
    ///
    /// # Errors
    /// When the server cannot be asked.
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError>;
}
