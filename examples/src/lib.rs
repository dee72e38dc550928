//! Examples of `backup-sched`; each is a program of its own beside this directory. Start with `quickstart`. Here is what
//! they share.

use std::error::Error;
use std::process::ExitCode;

/// Runs an example with what was asked for on the command line; tells its usage when that was asked for, or when what was
/// asked for makes no sense.
pub fn run<A>(
    usage: &str,
    args: Result<Option<A>, lexopt::Error>,
    example: impl FnOnce(A) -> Result<(), Box<dyn Error>>,
) -> ExitCode {
    let args = match args {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{usage}");
            return ExitCode::from(2);
        }
    };
    match example(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
