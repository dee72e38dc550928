//! Where instances are: [`Instances`].

use std::fmt;
use std::sync::Arc;

use sched_core::{InstanceName, RunContext};

use crate::DriverError;

type Find<T> = dyn Fn(&InstanceName) -> Option<T> + Send + Sync;

/// What the host knows of its instances: how the server of each is reached, or which file it is.
///
/// ```
/// use std::path::PathBuf;
/// use std::sync::Arc;
/// use sched_core::{JobSpec, ManualClock, RunContext};
/// use sched_drivers::server::Instances;
///
/// let files = Instances::new(|name| (name.as_str() == "shop").then(|| PathBuf::from("/var/lib/shop.db")));
/// let attempt = |name: &str| RunContext::detached(JobSpec::new(name, "sqlite"), Arc::new(ManualClock::default()));
/// assert_eq!(files.of(&attempt("shop"))?, PathBuf::from("/var/lib/shop.db"));
/// assert!(files.of(&attempt("shed")).is_err());
/// # Ok::<(), sched_drivers::DriverError>(())
/// ```
pub struct Instances<T> {
    find: Arc<Find<T>>,
}

impl<T> Instances<T> {
    /// Asks `find` at each attempt, so that what it says may change.
    pub fn new(find: impl Fn(&InstanceName) -> Option<T> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find) }
    }

    /// What is known of the instance that an attempt is to back up: the member taken, where there was a choice.
    ///
    /// # Errors
    /// When nothing is.
    pub fn of(&self, ctx: &RunContext) -> Result<T, DriverError> {
        let instance = ctx.instance();
        (self.find)(instance).ok_or_else(|| DriverError::Setting {
            what: format!("instance {instance}"),
            problem: "the function that the executor was given does not know it".into(),
        })
    }
}

impl<T> Clone for Instances<T> {
    fn clone(&self) -> Self {
        Self { find: Arc::clone(&self.find) }
    }
}

impl<T> fmt::Debug for Instances<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instances")
    }
}
