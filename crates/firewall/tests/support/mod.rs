//! A network namespace for the duration of a test, and the tools to look into it.
//!
//! Nothing here is skipped where a tool or a privilege is missing: the test fails and says so.

use std::process::{Command, Stdio};
use std::thread;

use cni_types::{Attachment, IpCidr};
use nix::sched::{CloneFlags, unshare};

/// Runs `body` on a thread of its own in a network namespace of its own, with `lo` up. Nothing has to be undone:
/// the namespace goes with the thread.
pub fn in_private_netns<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET) needs root");
                run("ip", &["link", "set", "lo", "up"]);
                body()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program in the current namespace; it must succeed. Answers what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program with text on its standard input; it must succeed.
pub fn feed(program: &str, args: &[&str], text: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The whole ruleset, as `nft` prints it.
pub fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

pub fn load(rules: &str) {
    feed("nft", &["-f", "-"], rules);
}

pub fn attachment(network: &str, container_id: &str, ifname: &str) -> Attachment {
    Attachment {
        network: network.parse().unwrap(),
        container_id: container_id.parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    }
}

pub fn cidrs(texts: &[&str]) -> Vec<IpCidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
