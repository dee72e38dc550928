//! The way in: [`SharedStore`].

use super::connection::Connection;
use super::member::Member;
use super::writer::Writer;
use super::{SharedConfig, SharedError, schema};

/// A store on PostgreSQL that several schedulers share. Connecting makes the tables, or brings them up to date, where that
/// is needed; a role that may not do that can work with those that somebody else has made.
#[derive(Clone, Debug)]
pub struct SharedStore {
    config: SharedConfig,
    shares: u32,
}

impl SharedStore {
    /// Connects.
    ///
    /// # Errors
    /// When a setting makes no sense or differs from the fleet's, the server cannot be reached or refuses, or the tables
    /// are too new for this library.
    pub fn connect(config: SharedConfig) -> Result<Self, SharedError> {
        config.check()?;
        let shares = schema::prepare(&Connection::open(&config)?, &config)?;
        Ok(Self { config, shares })
    }

    /// A scheduler to be, and what it writes with. It has not [joined](Member::join) yet.
    pub fn member(&self) -> (Member, Writer) {
        let member = Member::new(self.config.clone(), self.shares);
        let writer = Writer::new(self.config.clone(), member.lease().clone(), self.shares);
        (member, writer)
    }

    /// Its settings.
    pub fn config(&self) -> &SharedConfig {
        &self.config
    }

    /// The number of shares of the fleet.
    pub fn shares(&self) -> u32 {
        self.shares
    }
}
