//! Plugins executed by plugins ([specification, section 4]).
//!
//! [specification, section 4]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-4-plugin-delegation

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cni_types::{
    CniError, CniResult, Command, Environment, ErrorCode, FastPaths, Json, SpecVersion, ToCniError,
};

use crate::exec::{ExecError, Group, Outcome, Running};
use crate::linked::Linked;
use crate::request::search_path;
use crate::{Deadline, Request, Undo, remark};

/// How long the DEL that takes back a failed ADD may take.
const UNDO_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a plugin's rubbish an error repeats.
const EXCERPT: usize = 200;

/// A plugin found along `CNI_PATH`, to be run with our own environment and input.
#[derive(Debug, Clone)]
pub struct Delegate {
    name: String,
    path: PathBuf,
    stdin: Arc<[u8]>,
    version: SpecVersion,
    /// It is this one, which need not be executed.
    linked: Option<Linked>,
}

/// A delegated ADD that runs beside us.
#[derive(Debug)]
pub struct RunningAdd {
    delegate: Delegate,
    /// Shared with the undo step, which must not start a DEL while the ADD still runs.
    progress: Rc<RefCell<Progress>>,
    deadline: Deadline,
}

/// How far a delegated ADD is, and with it what there is to take back.
#[derive(Debug, Default)]
enum Progress {
    /// It runs, or has run in our own process, or is to.
    Begun(Work),
    /// It has ended, with or without a result: a DEL is owed.
    #[default]
    Ended,
    /// It did nothing: a DEL would take from somebody else.
    DidNothing,
}

/// A delegate at work.
#[derive(Debug)]
enum Work {
    /// In a process of its own.
    Child(Running),
    /// Not begun yet: it is for us to do.
    Ours(Linked, Command, Arc<[u8]>),
    /// It was done in ours.
    Done(Outcome),
}

impl Work {
    fn finish(self, deadline: Deadline) -> Result<Outcome, ExecError> {
        match self {
            Self::Child(running) => running.finish(deadline),
            Self::Ours(linked, command, stdin) => Ok(linked.run(command, &stdin, deadline)),
            Self::Done(outcome) => Ok(outcome),
        }
    }
}

impl ToCniError for ExecError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Timeout { .. } => ErrorCode::TRY_AGAIN,
            Self::Start { .. } | Self::Io { .. } | Self::Runaway { .. } => ErrorCode::DELEGATE,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Timeout { .. } => {
                Some("delegateTimeout (seconds) in the config allows it more time")
            }
            Self::Start { .. } => Some("is it an executable for this machine?"),
            Self::Io { .. } | Self::Runaway { .. } => None,
        }
    }
}

impl Delegate {
    /// Finds the binary `name`: the first regular file of that name along `CNI_PATH`.
    ///
    /// # Errors
    /// Code 7 when the name is a path, 130 when there is no such file.
    pub fn find(request: &Request, name: &str) -> Result<Self, CniError> {
        if name.contains('/') {
            let msg = format!("invalid plugin name: {name}");
            return Err(CniError::new(ErrorCode::INVALID_CONFIG, msg)
                .with_details("a plugin's type is the name of a binary in CNI_PATH, not a path"));
        }
        let mut refused = None;
        let path = search_path(&request.env)
            .map(|dir| dir.join(name))
            .find(|path| is_file(path, &mut refused));
        let path = path.ok_or_else(|| not_found(name, &request.env, refused))?;
        Ok(Self {
            name: name.to_owned(),
            path,
            stdin: Arc::clone(&request.stdin),
            version: request.version,
            linked: None,
        })
    }

    /// Runs it in this process if it is the binary of one of `linked`.
    #[must_use]
    pub fn or_linked(mut self, linked: &[Linked], fast_paths: FastPaths) -> Self {
        if fast_paths != FastPaths::Never {
            let mut linked = linked.iter().filter(|linked| linked.name == self.name);
            self.linked = linked.find(|linked| linked.is_binary(&self.path)).copied();
        }
        self
    }

    /// Starts its ADD, and registers the DEL that takes it back.
    ///
    /// # Errors
    /// The binary cannot be executed.
    pub fn start_add(&self, deadline: Deadline, undo: &mut Undo) -> Result<RunningAdd, CniError> {
        let begun = Progress::Begun(self.start(Command::Add)?);
        let progress = Rc::new(RefCell::new(begun));
        let add = || RunningAdd {
            delegate: self.clone(),
            progress: Rc::clone(&progress),
            deadline,
        };
        let unfinished = add();
        undo.push(format!("delegate DEL to {}", self.name), move || {
            unfinished.take_back()
        });
        Ok(add())
    }

    /// Runs its CHECK, DEL, GC or STATUS to the end.
    ///
    /// # Errors
    /// Its own error; or why there is none.
    pub fn run(&self, command: Command, deadline: Deadline) -> Result<(), CniError> {
        let outcome = self.start(command)?.finish(deadline)?;
        self.judge(&outcome)
    }

    fn start(&self, command: Command) -> Result<Work, ExecError> {
        if let Some(linked) = &self.linked {
            return Ok(Work::Ours(*linked, command, Arc::clone(&self.stdin)));
        }
        let vars = [("CNI_COMMAND", command.as_str())];
        let stdin = Arc::clone(&self.stdin);
        Running::start(&self.path, &vars, stdin, Group::Ours).map(Work::Child)
    }

    /// Passes on what it had to say, and turns a failure into its own error.
    fn judge(&self, outcome: &Outcome) -> Result<(), CniError> {
        if !outcome.stderr.is_empty() {
            remark(String::from_utf8_lossy(&outcome.stderr).trim_end());
        }
        if outcome.status.success() {
            Ok(())
        } else {
            Err(self.error_of(outcome))
        }
    }

    fn error_of(&self, outcome: &Outcome) -> CniError {
        let own = Json::parse(&outcome.stdout).and_then(|doc| doc.decode::<CniError>());
        if let Ok(error) = own {
            return error;
        }
        let how = outcome.status.code().map_or_else(
            || format!("netplugin failed: {} was killed by a signal", self.name),
            |code| format!("netplugin failed: {} exited with status {code}", self.name),
        );
        let said = if outcome.stdout.is_empty() {
            &outcome.stderr
        } else {
            &outcome.stdout
        };
        CniError::new(ErrorCode::DELEGATE, how).with_details(excerpt(said))
    }

    fn result_of(&self, stdout: &[u8]) -> Result<CniResult, CniError> {
        let rubbish = |why: String| {
            let msg = format!("{} did not answer with one result", self.name);
            CniError::new(ErrorCode::DECODE, msg)
                .with_details(format!("{why}; it printed: {}", excerpt(stdout)))
        };
        let doc = Json::parse(stdout).map_err(|error| rubbish(error.to_string()))?;
        CniResult::from_json(&doc, self.version).map_err(|error| {
            let error = CniError::from(error);
            rubbish(format!("{}: {}", error.msg, error.details))
        })
    }
}

impl RunningAdd {
    /// Does what is to be done in our own process. One that has its own is at it already.
    pub fn attend(&mut self) {
        let progress = match self.progress.take() {
            Progress::Begun(Work::Ours(linked, command, stdin)) => {
                let outcome = linked.run(command, &stdin, self.deadline);
                Progress::Begun(Work::Done(outcome))
            }
            other => other,
        };
        self.progress.replace(progress);
    }

    /// Waits for the result, which is there a little before the process is gone. Whether the
    /// process succeeded too is told by [`Self::finish`], which must follow: until then, nothing may
    /// be done that cannot be undone.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn result(&mut self) -> Result<CniResult, CniError> {
        let mut running = match self.progress.take() {
            Progress::Begun(Work::Child(running)) => running,
            Progress::Begun(done) => return self.conclude(done),
            _ => {
                return Err(CniError::new(
                    ErrorCode::INTERNAL,
                    "the delegate's ADD is over already",
                ));
            }
        };
        let heard = running.hear(self.deadline, |stdout| {
            stdout.trim_ascii_end().ends_with(b"}")
        });
        let early = heard
            .ok()
            .and_then(|stdout| self.delegate.result_of(stdout).ok());
        match early.filter(|result| !result.ips.is_empty()) {
            Some(result) => {
                self.progress.replace(Progress::Begun(Work::Child(running)));
                Ok(result)
            }
            // It is an error, or not all of it is there: then the end tells what it is.
            None => self.conclude(Work::Child(running)),
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Its own error; code 6 for anything but one result, the one that it told before; 11 at the
    /// deadline.
    pub fn finish(self, told: &CniResult) -> Result<(), CniError> {
        let Progress::Begun(work) = self.progress.take() else {
            return Ok(());
        };
        if self.conclude(work)? == *told {
            return Ok(());
        }
        let msg = format!("{} changed its answer", self.delegate.name);
        Err(CniError::new(ErrorCode::DECODE, msg))
    }

    fn conclude(&self, work: Work) -> Result<CniResult, CniError> {
        let outcome = work.finish(self.deadline)?;
        self.delegate.judge(&outcome).inspect_err(|error| {
            if is_duplicate(error) {
                self.progress.replace(Progress::DidNothing);
            }
        })?;
        self.delegate.result_of(&outcome.stdout)
    }

    /// Lets the ADD end, if it has not, and delegates the DEL, if one is owed.
    fn take_back(&self) -> Result<(), CniError> {
        let progress = match self.progress.take() {
            Progress::Begun(Work::Ours(..)) => return Ok(()),
            Progress::Begun(work) => {
                // Its outcome does not matter any more, only that it is over.
                let _outcome = self.conclude(work);
                self.progress.take()
            }
            over => over,
        };
        match progress {
            Progress::DidNothing => Ok(()),
            Progress::Begun(_) | Progress::Ended => self
                .delegate
                .run(Command::Del, Deadline::after(UNDO_TIMEOUT)),
        }
    }
}

/// Whether the delegate says that the attachment has addresses from an earlier ADD. A DEL would take
/// them from a container that may well be alive. The words are host-local's, the reference's and
/// ours.
fn is_duplicate(error: &CniError) -> bool {
    error.msg.contains("duplicate allocation is not allowed")
}

/// Keeps the first reason, if any, that the file may be there and cannot be seen.
fn is_file(path: &Path, refused: &mut Option<String>) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => found.is_file(),
        Err(error) => {
            let missing = [ErrorKind::NotFound, ErrorKind::NotADirectory];
            if !missing.contains(&error.kind()) {
                refused.get_or_insert_with(|| format!("look at {}: {error}", path.display()));
            }
            false
        }
    }
}

fn not_found(name: &str, env: &Environment, refused: Option<String>) -> CniError {
    let dirs: Vec<String> = search_path(env)
        .map(|dir| dir.display().to_string())
        .collect();
    let msg = format!(
        "failed to find plugin {name:?} in path [{}]",
        dirs.join(" ")
    );
    let error = CniError::new(ErrorCode::DELEGATE, msg).with_details(refused.unwrap_or_default());
    error.and("hint: install it there, or correct the type in the config")
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..EXCERPT).unwrap_or(bytes));
    let more = if bytes.len() > EXCERPT { "..." } else { "" };
    format!("{:?}{more}", text.trim_end())
}

#[cfg(test)]
mod tests;
