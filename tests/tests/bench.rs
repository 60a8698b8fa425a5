//! The benchmark runs and its tables are complete; no figure is judged.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::process::Command;

use cni_testkit::Suite;

/// What a sitting of two pairs prints.
fn tables(cases: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--pairs", "2"])
        .args(cases)
        .env("TENON_BIN_DIR", Suite::ours().bin_dir())
        .env("TENON_REFERENCE_DIR", Suite::reference().bin_dir())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_row_for_each_operation_with_all_figures() {
    let stdout = tables(&["version", "ipmasq", "dual-stack"]);
    for operation in [
        "VERSION bridge",
        "ADD bridge + host-local, ipMasq",
        "DEL bridge + host-local, ipMasq",
        "ADD bridge + host-local, IPv4 and IPv6",
        "DEL bridge + host-local, IPv4 and IPv6",
    ] {
        let found = rows(&stdout, operation);
        // VERSION has a row against the floor, too.
        let (time, work) = (&found[0], found.last().unwrap());
        assert_times(time);
        let [reference, ours] = pair(&work[1]);
        let delegates = u32::from(operation.contains("host-local"));
        assert!(reference > delegates, "{work:?}");
        assert!(ours <= 1 + left_behind(operation), "{work:?}");
    }
}

#[test]
fn leases_crowds_and_the_floor_have_all_figures_too() {
    let stdout = tables(&["host-local-1000", "at-once-10", "floor"]);
    for operation in [
        "ADD host-local, 1,000 leases",
        "DEL host-local, 1,000 leases",
        "first ADD host-local, 1,000 leases",
        "ADD 10 at once",
        "DEL 10 at once",
        // Against the floor.
        "ADD bridge + host-local",
    ] {
        let found = rows(&stdout, operation);
        assert_times(&found[0]);
        assert_eq!(found[0][6], "2", "pairs: {found:?}");
    }
    for part in [
        "a container's link, address and route, in a process that runs already",
        "the same as a process of its own, in Rust",
        "an empty program in Rust",
    ] {
        assert_eq!(rows(&stdout, part)[0][3], "2", "runs of {part}");
    }
    let work = &rows(&stdout, "ADD host-local, 1,000 leases")[1];
    let [reference, ours] = pair(&work[3]);
    assert!(reference > 3000, "it opens each lease: {work:?}");
    assert!(ours > 10, "{work:?}");
}

#[test]
fn two_builds_can_be_compared() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--quick", "--against"])
        .arg(Suite::ours().bin_dir())
        .args(["version", "host-local"])
        .env("TENON_BIN_DIR", Suite::ours().bin_dir())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("| before, ms |"), "{stdout}");
    let [time, work] = rows(&stdout, "ADD host-local").try_into().unwrap();
    assert_times(&time);
    let [before, now] = pair(&work[1]);
    assert_eq!(before, now);
}

/// Against a real dockerd, and with a driver that both use.
#[test]
fn docker_and_the_shim_do_the_same() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--pairs", "2", "cnm"])
        .env("TENON_BIN_DIR", Suite::ours().bin_dir())
        .env("TENON_REFERENCE_DIR", Suite::reference().bin_dir())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("Docker 20.10"), "{stdout}");
    for what in [
        "remote driver; Docker by its API",
        "the same without the driver's own time",
        "remote driver; Docker by its client",
        "built-in bridge; Docker by its API",
        "built-in bridge; Docker by its client",
    ] {
        for command in ["ADD", "DEL"] {
            let [time] = rows(&stdout, &format!("{command} {what}"))
                .try_into()
                .unwrap();
            let milliseconds = |cell: &String| cell.parse::<f64>().unwrap();
            let times: Vec<f64> = time[1..5].iter().map(milliseconds).collect();
            assert!(times.iter().all(|ms| *ms > 0.0), "{time:?}");
        }
    }
}

#[test]
fn chains_and_ports_have_all_figures_too() {
    let stdout = tables(&["podman", "ports-100"]);
    for operation in [
        "ADD podman's chain with a port",
        "DEL podman's chain with a port",
        "ADD portmap, the 100th port",
        "DEL portmap, the 100th port",
    ] {
        let found = rows(&stdout, operation);
        // A DEL that leaves a process behind has a row for when that has ended, too.
        let (time, work) = (&found[0], found.last().unwrap());
        assert_times(time);
        let [reference, ours] = pair(&work[1]);
        assert!(reference > ours, "{work:?}");
        if operation.contains("portmap") {
            assert!(ours <= 1 + left_behind(operation), "{work:?}");
        }
    }
    let [connection] = rows(&stdout, "portmap, the 100th port").try_into().unwrap();
    assert_times(&connection);
}

/// How many processes a plugin may start: a DEL leaves the kernel's waiting to one for the links and one
/// for the packet filter.
fn left_behind(operation: &str) -> u32 {
    if operation.starts_with("DEL") { 2 } else { 0 }
}

/// Medians and slowest runs of both.
fn assert_times(row: &[String]) {
    let times = row[1..5].iter().map(|time| time.parse::<f64>().unwrap());
    assert!(times.into_iter().all(|time| time > 0.0), "{row:?}");
}

/// The cells of each row of `operation`.
fn rows(tables: &str, operation: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = tables.lines().map(cells);
    rows.filter(|row: &Vec<String>| row[0] == operation)
        .collect()
}

/// `11 / 2`
fn pair(cell: &str) -> [u32; 2] {
    let (reference, ours) = cell.split_once(" / ").unwrap();
    [reference, ours].map(|number| number.parse().unwrap())
}
