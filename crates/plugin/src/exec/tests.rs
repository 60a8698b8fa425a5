use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

fn script(dir: &tempfile::TempDir, body: &str) -> std::path::PathBuf {
    let path = dir.path().join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run(body: &str, input: &[u8], timeout: Duration) -> Result<Outcome, ExecError> {
    let dir = tempfile::tempdir().unwrap();
    let path = script(&dir, body);
    Running::start(&path, &[("CNI_COMMAND", "TEST")], input.into(), Group::Ours)?
        .finish(Deadline::after(timeout))
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_child_gets_its_input_and_is_heard() {
    let outcome = run("cat; echo $CNI_COMMAND >&2; exit 3", b"hello", LONG).unwrap();
    assert_eq!(outcome.stdout, b"hello");
    assert_eq!(outcome.stderr, b"TEST\n");
    assert_eq!(outcome.status.code(), Some(3));
}

#[test]
fn input_and_output_larger_than_a_pipe_pass() {
    let input = vec![b'x'; 1 << 20];
    assert_eq!(run("cat", &input, LONG).unwrap().stdout, input);
}

#[test]
fn a_child_need_not_read_its_input() {
    let input = vec![b'x'; 1 << 20];
    assert!(run("exit 0", &input, LONG).unwrap().status.success());
}

#[test]
fn a_hanging_child_is_killed_at_the_deadline() {
    let start = Instant::now();
    let error = run("exec sleep 60", b"", Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, ExecError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_was_said_is_there_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(&dir, "echo one; read line; echo $line; exit 5");
    let mut running =
        Running::start::<&str>(&path, &[], b"two\n".as_slice().into(), Group::Ours).unwrap();
    let heard = running
        .hear(Deadline::after(LONG), |stdout| stdout.ends_with(b"one\n"))
        .unwrap();
    assert!(heard.starts_with(b"one\n"));
    let outcome = running.finish(Deadline::after(LONG)).unwrap();
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.status.code()),
        (b"one\ntwo\n".as_slice(), Some(5))
    );
    let mut silent =
        Running::start::<&str>(&script(&dir, "exit 0"), &[], [].into(), Group::Ours).unwrap();
    assert_eq!(
        silent.hear(Deadline::after(LONG), |_| false).unwrap(),
        b"",
        "its end ends the wait"
    );
}

#[test]
fn closing_stdout_is_not_the_end() {
    let outcome = run("exec >&- 2>&-; sleep 0.1; exit 4", b"", LONG).unwrap();
    assert_eq!(outcome.status.code(), Some(4));
}

#[test]
fn a_grandchild_that_keeps_the_pipes_is_not_waited_for() {
    let start = Instant::now();
    let outcome = run("sleep 5 & echo done", b"", LONG).unwrap();
    assert_eq!(outcome.stdout, b"done\n");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_runaway_is_stopped() {
    let error = run("exec yes", b"", LONG).unwrap_err();
    assert!(matches!(error, ExecError::Runaway { .. }), "{error:?}");
}

#[test]
fn what_cannot_be_executed_is_said() {
    let error = Running::start::<&str>(Path::new("/nonexistent/x"), &[], [].into(), Group::Ours)
        .unwrap_err();
    assert_eq!(error.to_string(), "start /nonexistent/x");
}

#[test]
fn a_group_of_its_own_is_killed_with_the_child() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let path = script(
        &dir,
        &format!("sleep 60 & echo $! > {}; wait", pid_file.display()),
    );
    let running = Running::start::<&str>(&path, &[], [].into(), Group::Own).unwrap();
    let error = running
        .finish(Deadline::after(Duration::from_millis(300)))
        .unwrap_err();
    assert!(matches!(error, ExecError::Timeout { .. }), "{error:?}");
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let deadline = Deadline::after(LONG);
    // Gone, or a zombie that its new parent has not reaped yet; the signal takes effect when the
    // process is next scheduled.
    while !is_over(pid.trim()) {
        assert!(!deadline.has_passed(), "{pid} is alive");
        std::thread::yield_now();
    }
}

fn is_over(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
}
