//! Real bytes through pipes and files at a rate, on the real clock; and what was measured against what was charged.
#![cfg(unix)]

use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sched_core::{
    Clock, JobId, JobSpec, ManualClock, MonoTime, Now, Pacer, RunContext, RunControl, RunParts, Scope,
};
use sched_limits::{BandwidthTree, FileSink, JobPacer, JobShare, Rate};

const MB: u64 = 1_000_000;
const TRIES: usize = 5;

#[derive(Debug)]
struct RealClock(Instant);

impl RealClock {
    #[expect(clippy::disallowed_methods, reason = "these tests measure real time")]
    fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "these tests measure real time")]
    fn now(&self) -> Now {
        Now { mono: MonoTime::ZERO + self.0.elapsed(), wall: jiff::Timestamp::UNIX_EPOCH }
    }
}

fn context(clock: Arc<dyn Clock>, tree: &BandwidthTree) -> (RunContext, Arc<JobPacer>) {
    let pacer = Arc::new(tree.join(&Scope::Host("local".into()), JobShare::default()).unwrap());
    let control = Arc::new(RunControl::new(|_| {}));
    let mut parts = RunParts::new(JobId(1), Arc::new(JobSpec::new("a", "sqlite")), control, clock);
    parts.pacer = pacer.clone();
    (RunContext::new(parts), pacer)
}

/// How the bytes that `copy` moves in about a second compare to the rate.
struct Ratios {
    median: f64,
    /// A busy machine makes bytes late and never early: the nearest to the rate that it came to.
    best: f64,
    /// What the machine does without a rate, in the same round.
    unpaced: f64,
}

fn ratios(rate: u64, copy: impl Fn(&RunContext, u64) -> Duration) -> Ratios {
    let one = |limit| {
        let clock = Arc::new(RealClock::new());
        let tree = BandwidthTree::new(clock.clone(), limit);
        let (ctx, _) = context(clock, &tree);
        1.0 / copy(&ctx, rate).as_secs_f64()
    };
    let unpaced = one(Rate::Unlimited);
    let mut all: Vec<f64> = (0..TRIES).map(|_| one(Rate::BytesPerSec(rate))).collect();
    all.sort_by(f64::total_cmp);
    println!("{rate} B/s: {all:.4?}, without a rate {unpaced:.2}");
    Ratios { median: all[TRIES / 2], best: all[TRIES - 1], unpaced }
}

fn through_a_pipe(ctx: &RunContext, bytes: u64) -> Duration {
    let (from, mut to) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let block = vec![7; 256 << 10];
            let mut left = bytes as usize;
            while left > 0 {
                let some = left.min(block.len());
                to.write_all(&block[..some]).unwrap();
                left -= some;
            }
        });
        let mut reader = ctx.reader(from);
        let (mut block, mut moved) = (vec![0; 256 << 10], 0);
        let begun = ctx.clock().mono();
        loop {
            match reader.read(&mut block).unwrap() {
                0 => break,
                read => moved += read as u64,
            }
        }
        assert_eq!(moved, bytes);
        ctx.clock().mono().since(begun)
    })
}

/// Over and over the same part of the file, so that the test needs no gigabyte of disk.
fn through_a_file(ctx: &RunContext, bytes: u64) -> Duration {
    const PART: u64 = 64 << 20;
    let block = vec![7; 256 << 10];
    let mut file = tempfile::tempfile().unwrap();
    let mut left = bytes;
    let begun = ctx.clock().mono();
    while left > 0 {
        let mut writer = ctx.writer(&file);
        let part = left.min(PART);
        let mut of_part = part;
        while of_part > 0 {
            let some = of_part.min(block.len() as u64);
            writer.write_all(&block[..some as usize]).unwrap();
            of_part -= some;
        }
        file.rewind().unwrap();
        left -= part;
    }
    let took = ctx.clock().mono().since(begun);
    assert_eq!(file.metadata().unwrap().len(), bytes.min(PART));
    took
}

#[test]
#[ignore = "needs a machine that is not busy with other tests"]
fn pipes_and_files_are_within_a_hundredth_of_the_rate() {
    for rate in [MB, 50 * MB, 1000 * MB] {
        for (what, ratios) in [("pipe", ratios(rate, through_a_pipe)), ("file", ratios(rate, through_a_file))]
        {
            let Ratios { median, best, unpaced } = ratios;
            assert!(best <= 1.01, "a {what} at {rate} B/s is too fast: {best}");
            // Of a machine that hardly does the rate by itself nothing can be asked.
            if unpaced >= 2.0 {
                assert!(best >= 0.99, "a {what} at {rate} B/s: {best} at best, {median} the median");
            } else {
                println!("this machine moves only {unpaced:.2} x {rate} B/s through a {what}");
            }
        }
    }
}

/// From a rate of which a byte takes a second to one at which all is done at once.
#[test]
fn a_new_rate_is_felt_within_a_tenth_of_a_second() {
    let mut felt: Vec<Duration> = (0..TRIES)
        .map(|_| {
            let clock = Arc::new(RealClock::new());
            let tree = BandwidthTree::new(clock.clone(), Rate::BytesPerSec(1));
            let (ctx, pacer) = context(clock.clone(), &tree);
            let paced = std::thread::spawn(move || ctx.pace(1000));
            while tree.waiting(&Scope::Fleet) == Some(0) {
                std::thread::yield_now();
            }
            assert!(pacer.granted() < 1000);
            // Nobody is woken: this is the worst case.
            tree.set_rate(&Scope::Fleet, Rate::BytesPerSec(1000 * MB)).unwrap();
            let from = clock.mono();
            paced.join().unwrap().unwrap();
            clock.mono().since(from)
        })
        .collect();
    felt.sort();
    assert!(felt[TRIES / 2] <= Duration::from_millis(110), "100 ms and what the machine adds: {felt:?}");
}

#[test]
fn a_paced_file_sink_keeps_the_bytes_and_the_rate() {
    let clock = Arc::new(RealClock::new());
    let tree = BandwidthTree::new(clock.clone(), Rate::BytesPerSec(20 * MB));
    let (ctx, pacer) = context(clock.clone(), &tree);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy");
    let from = clock.mono();
    let mut writer = ctx.writer(FileSink::create(&path).unwrap().write_back_every(1 << 20));
    writer.write_all(&vec![7; 4 << 20]).unwrap();
    let sink = writer.into_inner();
    assert_eq!(sink.write_backs(), 4);
    sink.finish().unwrap();
    assert!(clock.mono().since(from) >= Duration::from_millis(150), "4 MiB at 20 MB/s without the burst");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 << 20);
    assert!(pacer.granted() >= 4 << 20);
}

/// An executor that paces its output and reads six times as much, as its process counters say.
#[test]
fn what_was_moved_without_being_charged_is_charged() {
    let clock = Arc::new(ManualClock::default());
    let tree = BandwidthTree::new(clock.clone(), Rate::BytesPerSec(10 * MB));
    let (ctx, pacer) = context(clock.clone(), &tree);
    let (mut output, mut really) = (0, 0);
    for _ in 0..1000 {
        let chunk = pacer.max_chunk();
        let charge = pacer.charge(chunk);
        while pacer.wait(charge) != Some(Duration::ZERO) {
            clock.advance(Duration::from_millis(1));
        }
        // What `pace` does, without its thread.
        output += chunk;
        really += 6 * chunk;
        ctx.measured(really - output);
    }
    let passed = clock.mono().since(MonoTime::ZERO).as_secs_f64();
    let rate = really as f64 / passed / 1e7;
    assert!((0.97..=1.03).contains(&rate), "{rate} of the rate was really moved");
    assert_eq!(ctx.control().progress().measured_bytes, Some(really - output));
}

#[test]
fn what_was_charged_and_did_not_move_is_given_back() {
    let clock = Arc::new(ManualClock::default());
    let tree = BandwidthTree::new(clock.clone(), Rate::Unlimited);
    let (ctx, pacer) = context(clock, &tree);
    ctx.pace(100 << 20).unwrap();
    let before = pacer.granted();
    ctx.measured(60 << 20);
    let given_back = before - pacer.granted();
    assert_eq!(given_back, (40 << 20) - pacer.max_chunk(), "one chunk may be under way");
    ctx.measured(60 << 20);
    assert_eq!(before - pacer.granted(), given_back, "once");
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_tells_what_it_moved() {
    let io = sched_limits::ProcessIo::own().unwrap();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut sink = FileSink::create(directory.path().join("copy")).unwrap();
    sink.write_all(&vec![7; 8 << 20]).unwrap();
    sink.finish().unwrap();
    let bytes = io.bytes().unwrap();
    assert!((8 << 20..16 << 20).contains(&bytes), "{bytes}");
}
