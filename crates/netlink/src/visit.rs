//! Work that can only be done inside a namespace, without waiting for the way in and out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::ns::{NetNs, NetNsError, OsError, STACK_BYTES};

type Job = Box<dyn FnOnce(&io::Result<()>) + Send>;

/// A thread that is inside a namespace for as long as this value lives. It runs one job after the
/// other, beside its owner.
#[derive(Debug)]
pub struct Visit {
    jobs: Sender<Job>,
    path: PathBuf,
}

/// What a job will give.
#[derive(Debug)]
pub struct Pending<T> {
    outcome: Receiver<Result<thread::Result<T>, OsError>>,
    path: PathBuf,
}

impl NetNs {
    /// Sends a thread into the namespace. Whether it got in is told by its first job.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn visit(&self) -> Result<Visit, NetNsError> {
        let (jobs, inbox) = channel::<Job>();
        let (ns, path) = (self.clone(), self.path().to_owned());
        thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let entered = ns.enter();
                for job in inbox {
                    job(&entered);
                }
            })
            .map_err(|source| NetNsError::Enter {
                path: path.clone(),
                source: OsError(source),
            })?;
        Ok(Visit { jobs, path })
    }
}

impl Visit {
    /// Has `body` done inside, after the jobs before it.
    pub fn begin<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pending<T> {
        let (told, outcome) = channel();
        let job: Job = Box::new(move |entered| {
            let result = match entered {
                Ok(()) => Ok(catch_unwind(AssertUnwindSafe(body))),
                Err(error) => Err(OsError(again(error))),
            };
            // Nobody may be waiting any more.
            let _unheard = told.send(result);
        });
        // The thread ends only after this value; what it cannot be told, `wait` reports.
        let _gone = self.jobs.send(job);
        Pending {
            outcome,
            path: self.path.clone(),
        }
    }

    /// Has `body` done inside and waits for it.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    ///
    /// # Panics
    /// If `body` does.
    pub fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetNsError> {
        self.begin(body).wait()
    }
}

impl<T> Pending<T> {
    /// Waits for the job to be done.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    ///
    /// # Panics
    /// If the job did.
    pub fn wait(self) -> Result<T, NetNsError> {
        let lost = || Err(OsError(io::Error::other("the thread inside has ended")));
        match self.outcome.recv().unwrap_or_else(|_closed| lost()) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(source) => Err(NetNsError::Enter {
                path: self.path,
                source,
            }),
        }
    }
}

fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}
