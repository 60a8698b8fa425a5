//! What a plugin may answer when something failed.

use std::io;

use cni_testkit::Outcome;
use nix::errno::Errno;
use serde_json::Value;

use super::campaign::Command;
use crate::inject::Fault;

/// The codes that a failing system has: IO, a namespace, try again, the kernel, the packet filter, a delegate,
/// a driver.
const CODES: [u64; 7] = [5, 8, 11, 110, 120, 130, 140];

/// The code of a CHECK that could not look.
const CHECK_FAILED: u64 = 103;

/// The code that makes runtimes try again.
const TRY_AGAIN: u64 = 11;

/// What does not pass by itself.
const LASTING: [Errno; 2] = [Errno::EPERM, Errno::ENOSPC];

/// Names of things without a digit or a slash in them.
const THINGS: [&str; 9] = [
    "index",
    "table",
    "tenon-net",
    "lo",
    "stdin",
    "host-local",
    "rtnetlink",
    "nf_tables",
    "netns",
];

/// What came of a call, as far as it is one that may have come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The fault was overcome.
    Success,
    /// It was told, in one document.
    Told(Value),
    /// Nobody could be told: the reply itself failed, or there was no memory to go on.
    Silence,
}

/// Judges an outcome by itself; what is left on the machine is for the caller to look at.
pub(super) fn judge(command: Command, outcome: &Outcome, fault: &Fault) -> Result<Verdict, String> {
    if outcome.timed_out {
        return Err("it hangs".to_owned());
    }
    if outcome.code == 0 {
        return Ok(Verdict::Success);
    }
    // A dynamic build: the fault met the loader, before there was a program.
    if outcome.code == 127 && outcome.stderr.contains("shared libraries") {
        return Ok(Verdict::Silence);
    }
    if fault.is_to_be_overcome() {
        return Err("it does not begin anew what was interrupted".to_owned());
    }
    let nobody_hears = fault.is_of_reply()
        || outcome.stderr.contains("could not write the reply")
        || (fault.is_of_memory() && outcome.code != 1);
    if nobody_hears && outcome.stdout.is_empty() {
        return Ok(Verdict::Silence);
    }
    if outcome.stderr.contains("panicked") {
        return Err("it panicked".to_owned());
    }
    if outcome.code != 1 {
        return Err(format!("its exit code is {}", outcome.code));
    }
    let document: Value = serde_json::from_slice(&outcome.stdout)
        .map_err(|error| format!("stdout is not one document: {error}"))?;
    has_right_code(command, &document, fault)?;
    if document["code"].as_u64() != Some(CHECK_FAILED) {
        explains_itself(&document, fault)?;
    }
    Ok(Verdict::Told(document))
}

fn has_right_code(command: Command, document: &Value, fault: &Fault) -> Result<(), String> {
    let code = document["code"].as_u64();
    let of_check = command == Command::Check && code == Some(CHECK_FAILED);
    if !of_check && !code.is_some_and(|code| CODES.contains(&code)) {
        return Err("its code is none of a failing system".to_owned());
    }
    if code == Some(TRY_AGAIN) && fault.errno().is_some_and(|errno| LASTING.contains(&errno)) {
        return Err("it is not worth trying again".to_owned());
    }
    Ok(())
}

fn explains_itself(document: &Value, fault: &Fault) -> Result<(), String> {
    let [msg, details] = ["msg", "details"].map(|key| document[key].as_str().unwrap_or_default());
    let text = format!("{msg} {details}");
    if msg.is_empty() || !text.split_whitespace().any(names_something) {
        return Err("it does not say what it is about".to_owned());
    }
    // A delegate without memory cannot tell why it ended.
    if let Some(errno) = fault.errno().filter(|_| !fault.is_of_memory()) {
        let mut words = words_for(errno);
        // The standard library's words for a directory that it cannot make and does not see.
        words.extend(
            fault
                .hides_what_is_there()
                .then(|| "File exists".to_owned()),
        );
        if !words.iter().any(|words| text.contains(words.as_str())) {
            return Err(format!("it does not say {:?}", words[0]));
        }
    }
    Ok(())
}

/// Whether a word of a message is an object's name: an interface, an address, a path, an attachment.
fn names_something(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    if word.parse::<u64>().is_ok() {
        return false;
    }
    word.contains('/') || word.contains(|c: char| c.is_ascii_digit()) || THINGS.contains(&word)
}

/// The kernel's words for an error, in either C library's, and those for an answer that did not come.
fn words_for(errno: Errno) -> Vec<String> {
    let from_libc = io::Error::from(errno).to_string();
    let from_libc = from_libc.split(" (os").next().unwrap_or_default();
    let more: &[&str] = match errno {
        Errno::EAGAIN => &["no answer", "timed out"],
        _ => &[],
    };
    let all = [from_libc, errno.desc()]
        .into_iter()
        .chain(more.iter().copied());
    all.map(str::to_owned).collect()
}
