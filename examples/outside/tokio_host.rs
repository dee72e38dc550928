//! An asynchronous host on one thread: it serves requests, and backs up its databases to an object store by multipart
//! uploads that are paced, paused and cancelled by the scheduler. Nothing here blocks that thread.
//!
//! `cargo run --release -p sched-examples-outside --example tokio_host -- [DIRECTORY]` (default: a store in memory; yours would be S3 and its like)

use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::JobStatus;
use backup_sched::{
    AsyncExecutor, ForegroundLatency, JobHandle, JobId, JobSpec, JobState, LatencyGoal, RunContext, RunError,
    RunFuture, Scheduler,
};
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The databases and how large their dumps are.
const DATABASES: [(&str, u64); 4] =
    [("orders", 12 << 20), ("events", 80 << 20), ("carts", 6 << 20), ("reports", 9 << 20)];
/// The one whose backup is cancelled while it is uploaded.
const CANCELLED: &str = "events";
/// The least part that S3 takes, but for the last.
const PART: u64 = 5 << 20;
/// How often a request comes.
const REQUESTS: Duration = Duration::from_millis(2);

/// Uploads a dump in parts. Only one part is in memory.
struct Upload {
    store: Arc<dyn ObjectStore>,
}

impl AsyncExecutor for Upload {
    fn run(&self, ctx: RunContext) -> RunFuture {
        let store = self.store.clone();
        Box::pin(async move {
            // The attempt in its name: should it be made again, nobody takes one for the other.
            let path =
                Path::from(format!("{}/job-{}-attempt-{}", ctx.instance(), ctx.job().0, ctx.attempt()));
            let mut parts = store.put_multipart(&path).await.map_err(failed)?;
            let sent = send(&ctx, &mut *parts).await;
            match sent {
                Ok(()) => parts.complete().await.map(drop).map_err(failed),
                Err(error) => {
                    // Told to stop, it has time for this; what it leaves would be paid for.
                    let aborted = parts.abort().await;
                    aborted.map_err(failed).and(Err(error))
                }
            }
        })
    }
}

/// Reads the dump at the granted rate and sends it part by part.
async fn send(ctx: &RunContext, parts: &mut dyn MultipartUpload) -> Result<(), RunError> {
    let (dump, bytes) = dump(ctx.instance().as_str());
    let mut dump = ctx.async_reader(dump);
    let mut done = 0;
    loop {
        let mut part = Vec::with_capacity(PART as usize);
        // Here it waits for its turn, stands still when it is paused, and ends when it is cancelled.
        (&mut dump).take(PART).read_to_end(&mut part).await?;
        if part.is_empty() {
            return Ok(());
        }
        done += part.len() as u64;
        tokio::select! {
            sent = parts.put_part(part.into()) => sent.map_err(failed)?,
            // A store that hangs cannot be asked.
            told = ctx.cancelled() => return Err(told.into()),
        }
        ctx.progress(done, bytes);
    }
}

/// A dump and its size: yours is the output of a tool.
fn dump(database: &str) -> (impl AsyncRead + use<>, u64) {
    let bytes = DATABASES.iter().find(|(name, _)| *name == database).map_or(0, |(_, bytes)| *bytes);
    (tokio::io::repeat(b'd').take(bytes), bytes)
}

fn failed(error: object_store::Error) -> RunError {
    RunError::Retryable(error.to_string())
}

/// What the host is there for: requests, and how long each waited for the one thread.
async fn serve(latency: ForegroundLatency, longest: Arc<std::sync::Mutex<(u64, Duration)>>) {
    let mut requests = interval(REQUESTS);
    requests.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = requests.tick().await;
        let took = Instant::now().duration_since(due);
        latency.record(took);
        if let Ok(mut longest) = longest.lock() {
            *longest = (longest.0 + 1, longest.1.max(took));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let store: Arc<dyn ObjectStore> = match std::env::args_os().nth(1) {
        Some(directory) => {
            std::fs::create_dir_all(&directory)?;
            Arc::new(LocalFileSystem::new_with_prefix(directory)?)
        }
        None => Arc::new(InMemory::new()),
    };
    let (latency, longest) = (ForegroundLatency::new(), Arc::default());
    let serving = tokio::spawn(serve(latency.clone(), Arc::clone(&longest)));
    let scheduler = Scheduler::builder()
        .async_executor("postgresql", Handle::current(), Upload { store: store.clone() })
        .max_running(2)
        .rate_ceiling(40_000_000)
        .foreground(latency, LatencyGoal::p99(Duration::from_millis(50)))
        .start()?;

    let specs = DATABASES.map(|(name, _)| JobSpec::new(name, "postgresql"));
    let handles = scheduler.submit_all_async(specs).await;
    let handles: Vec<(_, JobHandle)> = DATABASES
        .iter()
        .zip(handles)
        .map(|((name, _), handle)| Ok((*name, handle?)))
        .collect::<Result<_, Failure>>()?;
    println!("{} backups are asked for; two at a time, 40 MB/s together", handles.len());

    // A part of the host that has a loop of its own asks for leave, and waits for it like the others.
    let own = tokio::spawn(sessions(scheduler.clone(), store.clone()));
    for (name, handle) in &handles {
        if *name == CANCELLED {
            begun(&scheduler, handle.id()).await?;
            println!("{name}: cancelled by {:?}", handle.cancel()?);
        }
    }
    for (name, handle) in handles {
        tell(name, &handle.await);
    }
    tell("sessions", &own.await??);

    let objects: Vec<ObjectMeta> = store.list(None).try_collect().await?;
    for object in &objects {
        println!("  {:>9} bytes  {}", object.size, object.location);
    }
    let whole = |(name, bytes): &&(&str, u64)| {
        objects
            .iter()
            .any(|object| object.location.prefix_matches(&Path::from(*name)) && object.size == *bytes)
    };
    let made = DATABASES.iter().filter(whole).count();
    let left = objects.iter().filter(|object| object.location.prefix_matches(&Path::from(CANCELLED))).count();
    println!("{made} dumps are whole, and {left} objects are left of the one that was cancelled");

    serving.abort();
    let report = scheduler.shutdown_async(Duration::from_secs(5)).await;
    if let Ok(longest) = longest.lock() {
        println!(
            "{} requests were served meanwhile; the longest waited {:.1?} for the one thread",
            longest.0, longest.1
        );
    }
    match report {
        Some(report) if report.abandoned.is_empty() && (made, left) == (DATABASES.len() - 1, 0) => Ok(()),
        other => Err(format!("not as it should be: {other:?}").into()),
    }
}

/// Waits until the first part of a job is sent.
async fn begun(scheduler: &Scheduler, job: JobId) -> Result<(), Failure> {
    let mut looks = interval(Duration::from_millis(10));
    loop {
        looks.tick().await;
        let status = scheduler.status()?;
        let running = status.running.iter().find(|running| running.status.job.id == job);
        if running.is_some_and(|running| running.progress.total_bytes.is_some()) {
            return Ok(());
        }
    }
}

/// A backup of the host's own making.
async fn sessions(scheduler: Scheduler, store: Arc<dyn ObjectStore>) -> Result<JobStatus, Failure> {
    let permit = scheduler.acquire_async(JobSpec::new("sessions", "generic")).await?;
    let text = b"who is logged in\n".repeat(100_000);
    // Dropped in the middle, by a time-out around this function say, the permit is given back as failed.
    permit.pace_async(text.len() as u64).await?;
    Ok(match store.put(&Path::from("sessions/all"), text.into()).await {
        Ok(_) => permit.finish_async().await,
        Err(error) => permit.fail_async(error).await,
    })
}

fn tell(name: &str, status: &JobStatus) {
    let seconds = status.ran.as_secs_f64();
    match status.state {
        JobState::Succeeded => println!("{name}: {} bytes in {seconds:.2} s", status.bytes),
        state => println!(
            "{name}: {state} after {seconds:.2} s: {}",
            status.error.as_deref().unwrap_or("no error")
        ),
    }
}
