//! The tools that make backups, and how they are kept in hand: [`Tool`].

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::RunContext;

use super::version::{Fit, ServerVersion, check_fit};
use crate::DriverError;
use crate::command::{ExternalCommand, IoClass};

/// A tool that says its version takes no longer.
const SAYS_VERSION_WITHIN: Duration = Duration::from_secs(30);

/// Which tool, and how it is run.
#[derive(Clone, Debug, Default)]
pub(super) struct Tool {
    pub(super) program: Option<OsString>,
    pub(super) timeout: Option<Duration>,
}

/// A tool that fits its server.
pub(super) struct Fitting {
    pub(super) command: ExternalCommand,
    /// Its name and version, for the manifest.
    pub(super) called: String,
}

impl Tool {
    /// Finds the tool and asks for its version. `usual` is what it is called and the package that holds it.
    pub(super) fn fitting(
        &self,
        ctx: &RunContext,
        usual: (&str, &str),
        server: ServerVersion,
        fit: Fit,
    ) -> Result<Fitting, DriverError> {
        let (name, package) = usual;
        let program = self.program.clone().unwrap_or_else(|| name.into());
        let command = ExternalCommand::new(&program)
            .remedy(format!("install {package}, or give its path with `tool`"))
            .niceness(10)
            .io_class(IoClass::BestEffort(7));
        let said = version_of(ctx, &command)?;
        let shown = program.to_string_lossy().into_owned();
        let Some(found) = ServerVersion::of_tool(&said) else {
            let problem = format!("it does not say its version, but {said:?}; right is {name}");
            return Err(DriverError::Setting { what: shown, problem });
        };
        check_fit(&shown, found, server, fit)?;
        let command = match self.timeout {
            Some(timeout) => command.run_timeout(timeout),
            None => command,
        };
        Ok(Fitting { command, called: format!("{name} of {found}") })
    }
}

/// What it says on either output: some use the one, some the other.
fn version_of(ctx: &RunContext, command: &ExternalCommand) -> Result<String, DriverError> {
    let heard = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&heard);
    let listener = move |line: &str| {
        let mut heard = hears.lock();
        if heard.len() < 4096 {
            *heard += line;
            heard.push('\n');
        }
    };
    let asks = command.clone().arg("--version").run_timeout(SAYS_VERSION_WITHIN).listener(listener);
    let mut said = String::from_utf8_lossy(&asks.output(ctx, 4096)?).into_owned();
    said += &heard.lock();
    Ok(said)
}
