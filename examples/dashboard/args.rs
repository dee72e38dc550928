//! What was asked for on the command line.

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
A scheduler with its state, metrics and reasons in the browser. The backups and the databases are made up; all that
decides is real.

cargo run --release --example dashboard -- [OPTIONS]

  --port N      port on 127.0.0.1 (8080; 0 takes a free one)
  --token T     asked for by everything but the page itself, which takes it from its address: #token=T
  --seconds N   ends by itself after so long (otherwise with Ctrl-C)
  --seed N      which backups are asked for when (1)
  -h, --help    this text";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) token: Option<String>,
    pub(crate) seconds: Option<u64>,
    pub(crate) seed: u64,
}

impl Args {
    /// `None` when only help was asked for.
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let mut args = Self { port: 8080, token: None, seconds: None, seed: 1 };
        while let Some(arg) = parser.next()? {
            match arg {
                Long("port") => args.port = parser.value()?.parse()?,
                Long("token") => {
                    args.token = Some(parser.value()?.string()?).filter(|token| !token.is_empty())
                }
                Long("seconds") => args.seconds = Some(parser.value()?.parse()?),
                Long("seed") => args.seed = parser.value()?.parse()?,
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(args))
    }
}
