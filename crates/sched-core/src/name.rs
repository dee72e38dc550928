//! Names that jobs, hosts and technologies are known by.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Longest accepted name, in bytes: what a file name can hold on every common file system.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no visible character.
    #[error("it is empty")]
    Empty,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("it is {len} bytes long; the most is {MAX_NAME_BYTES}")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
    },
    /// The name holds a control character, which would garble logs.
    #[error("it holds the control character {found:?} at byte {at}")]
    ControlCharacter {
        /// The character found.
        found: char,
        /// Byte offset of that character.
        at: usize,
    },
}

fn check(name: &str) -> Result<(), NameError> {
    // Nearly all names are plain; the rest is looked at with care.
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    if name.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { len: name.len() });
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, found)) => Err(NameError::ControlCharacter { found, at }),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Cheap to clone. Any text converts into one; [`check`](Self::check) says whether it is usable, and
        /// everything that accepts work checks.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name can be used.
            ///
            /// # Errors
            /// When it is empty, longer than [`MAX_NAME_BYTES`], or holds a control character.
            pub fn check(&self) -> Result<(), NameError> {
                check(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl From<&$name> for $name {
            fn from(name: &$name) -> Self {
                name.clone()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text).map(Self)
            }
        }
    )*};
}

/// Reads text to where it stays. What `serde` has for shared text makes a copy before.
struct Text;

impl Visitor<'_> for Text {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(text.into())
    }
}

names! {
    /// The name of one database instance: what is backed up.
    InstanceName;
    /// The name of a database technology, such as `postgresql`.
    TechnologyName;
    /// The name of the machine whose resources a job uses.
    HostName;
    /// The name of a volume of a host, such as `/var/lib/pgsql`.
    VolumeName;
    /// The name of something that hosts share on their way to a destination: a switch, a site's uplink, an array.
    LinkName;
    /// The name of where backups go, such as a bucket.
    DestinationName;
    /// The name of a set of jobs with a limit of its own: the members of a cluster, or backups that exclude each
    /// other.
    GroupName;
    /// The name of whom the work is for, where several share a fleet.
    TenantName;
    /// The name of a finite resource, such as `slots`.
    ResourceName;
    /// The name of a measured signal, such as `cpu`.
    SignalName;
    /// The name of a calendar, such as `nightly`.
    CalendarName;
    /// The name of what a job is sensitive to: jobs of one sensitivity are kept back by the same signals from the same
    /// values on.
    SensitivityName;
}

impl Default for TenantName {
    /// `default`: the tenant of every job that names none, and one text for all of them.
    fn default() -> Self {
        static NAME: LazyLock<TenantName> = LazyLock::new(|| "default".into());
        NAME.clone()
    }
}

impl Default for HostName {
    /// `local`: the machine that the scheduler runs on; one text for all that name none.
    fn default() -> Self {
        static NAME: LazyLock<HostName> = LazyLock::new(|| "local".into());
        NAME.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_take_no_memory_of_their_own() {
        assert!(Arc::ptr_eq(&TenantName::default().0, &TenantName::default().0));
        assert!(Arc::ptr_eq(&HostName::default().0, &HostName::default().0));
    }

    #[test]
    fn unusable_names_say_why() {
        assert_eq!(InstanceName::from("  ").check(), Err(NameError::Empty));
        let at = InstanceName::from("a\nb").check();
        assert_eq!(at, Err(NameError::ControlCharacter { found: '\n', at: 1 }));
        let long = InstanceName::from("x".repeat(256)).check();
        assert_eq!(long, Err(NameError::TooLong { len: 256 }));
        assert_eq!(InstanceName::from("x".repeat(255)).check(), Ok(()));
    }
}
