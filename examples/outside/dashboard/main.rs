//! The scheduler in the browser: what runs and how fast, what waits and why, load and limits, the week ahead.
//!
//! `cargo run --release -p sched-examples-outside --example dashboard`, then open the address that it prints. `--help` tells more.

mod args;
mod demo;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use args::{Args, USAGE};
use crossbeam_channel::{after, bounded, never, select};
use server::Server;

fn main() -> ExitCode {
    sched_examples::run(USAGE, Args::parse(lexopt::Parser::from_env()), run)
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let (scheduler, latency, moved) = demo::start()?;
    let token = args.token.as_ref().map(|token| token.text.clone());
    let server = Server::start(scheduler.clone(), args.port, token).map_err(|error| {
        format!("port {} of 127.0.0.1 cannot be used: {error}; --port 0 takes a free one", args.port)
    })?;
    let token = match &args.token {
        None => String::new(),
        Some(token) if token.secret => "#token=… with the token of the file".into(),
        Some(token) => format!("#token={}", encoded(&token.text)),
    };
    println!("open http://{}/{token} in a browser; metrics are at /metrics, Ctrl-C ends it", server.address);
    let (stop, stopped) = bounded::<()>(0);
    let (interrupt, interrupted) = bounded(1);
    ctrlc::set_handler(move || {
        let _ = interrupt.try_send(());
    })?;
    let end = args.seconds.map_or_else(never, |seconds| after(Duration::from_secs(seconds)));
    std::thread::scope(|scope| {
        let playing = &scheduler;
        scope.spawn(move || demo::play(playing, &latency, &moved, args.seed, &stopped));
        select! {
            recv(interrupted) -> _ => {}
            recv(end) -> _ => {}
        }
        drop(stop);
    });
    drop(server);
    let report = scheduler.shutdown(Duration::from_secs(1));
    if let Some(report) = report {
        println!("ended: {} backups were cancelled", report.cancelled);
    }
    Ok(())
}

/// As it stands in an address.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
