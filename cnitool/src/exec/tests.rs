use super::*;

fn sh(script: &str, input: &[u8], limit: Duration) -> Result<Outcome, ExecError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    run(
        &path,
        &[("GREETING", OsStr::new("hello"))],
        input.to_vec(),
        limit,
    )
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn input_variables_and_both_outputs_pass() {
    let outcome = sh("echo $GREETING; cat; echo oops >&2; exit 3", b"in", LONG).unwrap();
    assert_eq!(outcome.status.code(), Some(3));
    assert_eq!(outcome.stdout, b"hello\nin");
    assert_eq!(outcome.stderr, b"oops\n");
}

#[test]
fn input_that_nobody_reads_and_output_beyond_a_pipe_do_not_block() {
    let input = vec![b'x'; 1 << 20];
    assert!(sh("exit 0", &input, LONG).unwrap().status.success());
    assert_eq!(sh("cat", &input, LONG).unwrap().stdout, input);
}

#[test]
fn at_the_deadline_the_whole_group_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    let error = sh(&script, b"", Duration::from_millis(300)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("did not end within 0.3 s and was killed"),
        "{error}"
    );
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Gone, or a zombie that its new parent has not reaped yet.
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn a_daemon_that_keeps_the_pipes_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo done", pid_file.display());
    let start = Instant::now();
    let outcome = sh(&script, b"", LONG).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(outcome.stdout, b"done\n");
    let pid = std::fs::read_to_string(pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn what_cannot_be_started_is_named() {
    let error = run(Path::new("/nonexistent/plugin"), &[], Vec::new(), LONG).unwrap_err();
    assert_eq!(error.to_string(), "start /nonexistent/plugin");
}
