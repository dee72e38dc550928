//! What was asked for on the command line.

use std::path::Path;
use std::{fmt, fs};

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
A scheduler with its state, metrics and reasons in the browser. The backups and the databases are made up; all that
decides is real.

cargo run --release -p sched-examples-outside --example dashboard -- [OPTIONS]

  --port N         port on 127.0.0.1 (8080; 0 takes a free one)
  --token T        asked for by everything but the page itself, which takes it from its address: #token=T
  --token-file F   the same, read from the file F: it is not printed, nor in the list of processes
  --seconds N      ends by itself after so long (otherwise with Ctrl-C)
  --seed N         which backups are asked for when (1)
  -h, --help       this text";

/// What is asked of whoever reads.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// It came from a file, and is not printed.
    pub(crate) secret: bool,
}

impl fmt::Debug for Token {
    /// Without its text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Token {
    fn read(path: &Path) -> Result<Self, lexopt::Error> {
        let name = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| lexopt::Error::from(format!("--token-file {name}: {error}")))?;
        match text.trim() {
            "" => {
                Err(format!("--token-file {name}: it is empty; right is a file with the token alone").into())
            }
            text => Ok(Self { text: text.to_owned(), secret: true }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) token: Option<Token>,
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
                Long("token" | "token-file") if args.token.is_some() => {
                    return Err("there is one token: --token or --token-file".into());
                }
                Long("token") => {
                    let text = parser.value()?.string()?;
                    args.token = (!text.is_empty()).then_some(Token { text, secret: false })
                }
                Long("token-file") => args.token = Some(Token::read(Path::new(&parser.value()?))?),
                Long("seconds") => args.seconds = Some(parser.value()?.parse()?),
                Long("seed") => args.seed = parser.value()?.parse()?,
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(args))
    }
}
