//! Namespaces for the duration of a test, and the tools to look into them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use cni_firewall::{FirewallError, Lack, Missing};
use cni_types::{Attachment, IpCidr};
use nix::sched::{CloneFlags, unshare};

fn enter_new_netns() {
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET) needs root");
    // No address has to wait for its duplicates here.
    for scope in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0").unwrap();
    }
    run("ip", &["link", "set", "lo", "up"]);
}

/// Runs `body` on a thread of its own in a network namespace of its own, with `lo` up. There is
/// nothing to undo: the namespace goes with the thread.
pub(crate) fn in_private_netns<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                enter_new_netns();
                body()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

type Job = Box<dyn FnOnce() + Send>;

/// A further namespace, kept by a thread that runs jobs in it.
pub(crate) struct Namespace {
    /// The thread's id, by which `ip link` and `/proc` find the namespace.
    pub(crate) tid: i32,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            enter_new_netns();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in inbox {
                job();
            }
        });
        Self {
            tid: told.recv().expect("the namespace's thread ended early"),
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    /// Runs `job` in the namespace and waits for its answer.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        let job: Job = Box::new(move || answer.send(job()).unwrap());
        self.jobs.as_ref().unwrap().send(job).unwrap();
        answered.recv().expect("the job panicked")
    }

    pub(crate) fn ip(&self, commands: &[&str]) {
        let text = commands.join("\n");
        self.run(move || ip_batch(&text));
    }

    /// Where a plugin finds the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A panicked thread has told why, and a second panic here would abort.
        let _panicked = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn ip_batch(commands: &str) {
    feed("ip", &["-batch", "-"], commands);
}

/// Runs lines of `ip(8)` in the current namespace.
pub(crate) fn ip(commands: &[&str]) {
    ip_batch(&commands.join("\n"));
}

/// Runs a program in the current namespace; it must succeed. Answers what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    feed(program, args, "")
}

/// The same with text on its standard input.
pub(crate) fn feed(program: &str, args: &[&str], text: &str) -> String {
    let output = attempt(program, args, &[], text);
    assert!(
        output.status.success(),
        "{program} {args:?} < {text}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn attempt(program: &str, args: &[&str], env: &[(&str, &str)], text: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// The whole ruleset, as `nft` prints it.
pub(crate) fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

pub(crate) fn load(rules: &str) {
    feed("nft", &["-f", "-"], rules);
}

pub(crate) fn attachment(network: &str, container_id: &str, ifname: &str) -> Attachment {
    Attachment {
        network: network.parse().unwrap(),
        container_id: container_id.parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    }
}

pub(crate) fn cidrs(texts: &[&str]) -> Vec<IpCidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What a CHECK found to be missing.
pub(crate) fn lacks(checked: Result<Vec<Missing>, FirewallError>) -> Vec<Lack> {
    let missing = checked.unwrap().into_iter();
    missing.map(|missing| missing.what).collect()
}

/// Gives the current thread, and what it starts, an empty `/run` that nobody else sees.
pub(crate) fn private_run() {
    use nix::mount::{MsFlags, mount};
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare(CLONE_NEWNS) needs root");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
}
