use super::*;
use crate::pairs::Operation;

fn operation_of(case: &'static str, command: &'static str, title: &'static str) -> Operation {
    Operation {
        case,
        command,
        title,
    }
}

fn row(operation: Operation, times: [Vec<f64>; 2]) -> Row {
    Row {
        operation,
        lasted: times.clone(),
        others: vec![1; times[0].len()],
        times,
        costs: None,
    }
}

fn report() -> Report {
    let cost = |processes, peak_kib| Cost {
        processes,
        threads: 3,
        syscalls: 90,
        faults: 70,
        peak_kib,
    };
    let mut bridge = row(
        operation_of("bridge", "ADD", "bridge"),
        [vec![10.0, 20.0, 30.0], vec![1.0, 4.0, 9.0]],
    );
    bridge.costs = Some([cost(12, 10_240), cost(2, 1536)]);
    bridge.others = vec![0, 1, 2];
    Report {
        compared: ["reference", "Tenon"],
        machine: Machine {
            kernel: "6.1.0".into(),
            processor: "Some CPU".into(),
            cores: 2,
            file_system: "ext4".into(),
            reference: "Debian's containernetworking-plugins 1.1.1".into(),
            iptables: "iptables v1.8.9 (nf_tables)".into(),
        },
        sizes: vec![Size {
            plugin: "bridge".into(),
            reference: 3 << 20,
            ours: 1 << 20,
        }],
        figures: Figures {
            rows: vec![bridge],
            connections: vec![row(
                operation_of("ports-100", "", "portmap, the 100th port"),
                [vec![40.0, 60.0], vec![30.0, 30.0]],
            )],
            ..Figures::default()
        },
        docker: Some(Joining {
            version: "20.10.24 (API 1.41)".into(),
            rows: vec![row(
                operation_of("cnm", "ADD", "bridge"),
                [vec![30.0], vec![15.0]],
            )],
        }),
    }
}

#[test]
fn times_have_medians_p99_and_the_ratio_of_pairs() {
    let report = report();
    let expected = "\
| operation  | reference, ms |   p99 | Tenon, ms |  p99 |   ratio (quartiles) | pairs |
| ---------- | ------------: | ----: | --------: | ---: | ------------------: | ----: |
| ADD bridge |         20.00 | 30.00 |      4.00 | 9.00 | 0.200 (0.150-0.250) |     3 |
";
    let names = report.head("operation", "ms");
    assert_eq!(times(names, &report.figures.rows), expected);
}

#[test]
fn work_counts_the_plugin_and_its_main_thread() {
    let expected = "\
| operation  | processes | threads | system calls | page faults | peak memory, MiB |
| ---------- | --------: | ------: | -----------: | ----------: | ---------------: |
| ADD bridge |    12 / 2 |  15 / 5 |      90 / 90 |     70 / 70 |       10.0 / 1.5 |
";
    assert_eq!(report().work(), expected);
}

#[test]
fn connections_have_a_table_of_their_own() {
    let expected = "\
| through                 | reference, µs |   p99 | Tenon, µs |   p99 |   ratio (quartiles) | pairs |
| ----------------------- | ------------: | ----: | --------: | ----: | ------------------: | ----: |
| portmap, the 100th port |         50.00 | 60.00 |     30.00 | 30.00 | 0.625 (0.562-0.688) |     2 |
";
    assert_eq!(report().connections(), expected);
}

#[test]
fn what_was_left_running_is_told_where_something_was() {
    let mut report = report();
    assert!(report.lasted().is_none());
    assert!(report.page().contains("No plugin left a process running"));
    report.figures.rows[0].lasted[1] = vec![11.0, 14.0, 19.0];
    let lasted = report.lasted().unwrap();
    assert!(
        lasted.contains("| ADD bridge |         20.00 | 30.00 |     14.00 | 19.00 |"),
        "{lasted}"
    );
}

#[test]
fn a_terminal_gets_the_tables_that_have_rows() {
    let tables = report().tables();
    assert!(tables.contains("| ADD bridge "), "{tables}");
    assert!(!tables.contains("floor"), "{tables}");
}

#[test]
fn the_page_tells_what_on_and_how() {
    let page = report().page();
    for part in [
        "# Benchmarks\n",
        "Linux 6.1.0, 2 cores",
        "leases on ext4",
        "- 1.0 other processes",
        "Docker 20.10.24 (API 1.41)",
        "| ADD bridge |      30.00 | 30.00 |        15.00 | 15.00 | 0.500 (0.500-0.500) |",
        " 0.18 |  0.200 (0.150-0.250) |  no |",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("\n\n\n"), "{page}");
    assert!(!page.contains('{'), "{page}");
}

#[test]
fn the_readme_gets_what_was_measured() {
    let readme = "\
<!-- figures: scripts/bench --write -->
<!-- end of figures -->
<!-- docker: scripts/bench --write -->
<!-- end of docker -->
";
    let mut report = report();
    let mut del = row(
        operation_of("bridge", "DEL", "bridge"),
        [vec![20.0], vec![2.0]],
    );
    del.costs = report.figures.rows[0].costs;
    report.figures.rows.push(del);
    let text = rewritten(readme, &report).unwrap();
    for part in [
        "| `bridge` + `host-local` ADD / DEL           | 20 / 20 ms | 4.0 / 2.0 ms | 0.20 / 0.10 |",
        "| peak memory of any process                  |   10.0 MiB |      1.5 MiB |             |",
        "| bridge            |",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
