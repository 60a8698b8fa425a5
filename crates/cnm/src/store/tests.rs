use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::record::{DriverRef, Due};
use super::*;
use crate::wire::network::CreateNetworkRequest;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("cnm-shim"));
    (dir, store)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        network: "pods".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn driver() -> DriverRef {
    DriverRef {
        name: "weave".into(),
        url: None,
    }
}

fn network(name: &str) -> NetworkRecord {
    NetworkRecord {
        id: NetworkId::derive(name),
        name: name.into(),
        driver: driver(),
        ipam: None,
        scope: "local".into(),
        made_from: String::new(),
        request: CreateNetworkRequest::default(),
        pools: Vec::new(),
        internal: false,
        requires_mac: false,
        ready: true,
        shared: false,
        owed: record::Debts::default(),
        tries: 0,
    }
}

fn endpoint(network: &str, container: &str) -> EndpointRecord {
    let attachment = attachment(container);
    let mut owed = record::Debts::default();
    owed.incur(Due::Endpoint);
    EndpointRecord {
        id: EndpointId::derive(network, &attachment, 0),
        network: NetworkId::derive(network),
        driver: driver(),
        ipam: None,
        generation: 0,
        attachment: (&attachment).into(),
        sandbox: record::SandboxRecord::default(),
        mac: String::new(),
        addresses: vec!["10.0.0.2/24".into()],
        join: None,
        link: None,
        made_network: false,
        complete: false,
        leaving: false,
        owed,
        tries: 0,
    }
}

#[test]
fn records_come_back_as_they_were_written() {
    let (_dir, store) = store();
    let (net, ep) = (network("red"), endpoint("red", "c1"));
    assert_eq!(store.network(&net.id).unwrap(), None);
    store.save_network(&net).unwrap();
    store.save_endpoint(&ep).unwrap();
    store.save_endpoint(&ep).unwrap();
    assert_eq!(store.network(&net.id).unwrap(), Some(net.clone()));
    assert_eq!(
        store.endpoint(&net.id, &attachment("c1")).unwrap(),
        Some(ep.clone())
    );
    assert_eq!(store.endpoint(&net.id, &attachment("c2")).unwrap(), None);
    assert_eq!(store.endpoints(&net.id).unwrap().len(), 1);
    assert!(!store.is_unused(&net.id).unwrap());
}

#[test]
fn an_endpoint_is_found_although_the_configuration_names_another_network() {
    let (_dir, store) = store();
    store.save_endpoint(&endpoint("red", "c1")).unwrap();
    let found = store.endpoint(&NetworkId::derive("blue"), &attachment("c1"));
    assert_eq!(found.unwrap(), Some(endpoint("red", "c1")));
}

#[test]
fn garbage_counts_as_use_until_it_is_gone_and_the_last_leaves_nothing() {
    let (_dir, store) = store();
    let (net, ep) = (network("red"), endpoint("red", "c1"));
    store.save_network(&net).unwrap();
    store.save_endpoint(&ep).unwrap();
    store.save_garbage(&ep).unwrap();
    store.remove_endpoint(&ep).unwrap();
    assert!(store.has_garbage(&net.id, &ep.id));
    assert!(!store.is_unused(&net.id).unwrap());
    store.remove_garbage(&ep).unwrap();
    assert!(store.is_unused(&net.id).unwrap());
    store.remove_network(&net.id).unwrap();
    store.remove_network(&net.id).unwrap();
    let left = std::fs::read_dir(store.dir().join("networks"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn only_root_may_read_them() {
    let (_dir, store) = store();
    let net = network("red");
    store.save_network(&net).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.dir()), 0o700);
    assert_eq!(mode(&store.network_file(&net.id)), 0o600);
}

#[test]
fn a_torn_record_is_told_and_a_torn_write_leaves_the_old_one() {
    let (_dir, store) = store();
    let net = network("red");
    store.save_network(&net).unwrap();
    let path = store.network_file(&net.id);
    // What a crash in the middle of the next write leaves.
    std::fs::write(path.with_file_name(".network.json.new"), "{\"id\"").unwrap();
    assert_eq!(store.network(&net.id).unwrap(), Some(net.clone()));
    store.save_network(&net).unwrap();

    std::fs::write(&path, "{\"id\"").unwrap();
    let error = store.network(&net.id).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DECODE);
    assert!(error.to_string().contains("network.json is not a record"));
    store.set_aside(&path).unwrap();
    assert_eq!(store.network(&net.id).unwrap(), None);
}

#[test]
fn what_a_crash_left_of_a_write_is_swept_unless_somebody_writes() {
    let (_dir, store) = store();
    let (net, ep) = (network("red"), endpoint("red", "c1"));
    store.save_network(&net).unwrap();
    store.save_endpoint(&ep).unwrap();
    let half = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let half = path.with_file_name(format!(".{name}.new"));
        std::fs::write(&half, "{\"id\"").unwrap();
        half
    };
    let files = [
        store.network_file(&net.id),
        store.endpoint_file(net.id.as_str(), &attachment("c1")),
        store.endpoint_file(net.id.as_str(), &attachment("c2")),
    ];
    let halves = files.map(|file| half(&file));
    let held = store.lock_attachment(&attachment("c2"), soon()).unwrap();
    store.sweep_records().unwrap();
    assert_eq!(
        halves.each_ref().map(|half| half.exists()),
        [false, false, true]
    );
    store.sweep_endpoint(&net.id, &attachment("c2")).unwrap();
    drop(held);
    assert!(!halves[2].exists());
    // A record takes it along.
    let half = half(&store.endpoint_file(net.id.as_str(), &attachment("c1")));
    store.remove_endpoint(&ep).unwrap();
    store.remove_network(&net.id).unwrap();
    assert!(!half.exists() && store.network_ids().unwrap().is_empty());
}

#[test]
fn links_and_fifos_are_not_records() {
    let (_dir, store) = store();
    let net = network("red");
    let path = store.network_file(&net.id);
    file::make_dir(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(store.network(&net.id).is_err());
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(store.network(&net.id).is_err(), "and nobody waits for it");
}

#[test]
fn a_lock_is_exclusive_has_a_deadline_and_leaves_no_file() {
    let (_dir, store) = store();
    let id = NetworkId::derive("red");
    let held = store.lock_network(&id, soon()).unwrap();
    let error = store.lock_network(&id, Instant::now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TRY_AGAIN);
    drop(store.lock_attachment(&attachment("c1"), soon()).unwrap());
    drop(held);
    let left = std::fs::read_dir(store.dir().join("locks"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn many_take_turns_although_the_file_comes_and_goes() {
    let (_dir, store) = store();
    let id = NetworkId::derive("red");
    let inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lock = store.lock_network(&id, soon()).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                    inside.store(false, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
}

#[test]
fn a_directory_of_other_records() {
    let (_dir, store) = store();
    let records = RecordDir::new(store.dir().join("others"));
    assert!(!records.is_there());
    assert_eq!(records.names().unwrap(), Vec::<String>::new());
    assert_eq!(records.read::<Vec<u8>>("a").unwrap(), None);
    for text in ["first", "second"] {
        records.write("b", &text).unwrap();
    }
    records.write("a", &5).unwrap();
    assert_eq!(records.names().unwrap(), ["a", "b"]);
    let read = records.read::<String>("b").unwrap();
    assert_eq!(read.as_deref(), Some("second"));
    let error = records.read::<Vec<u8>>("b").unwrap_err();
    assert_eq!(error.code(), ErrorCode::DECODE);
    for _twice in 0..2 {
        records.remove("a").unwrap();
    }
    assert_eq!(records.names().unwrap(), ["b"]);
    assert!(records.is_there() && records.path().ends_with("others"));
}

#[test]
fn locks_of_other_things_are_told_apart() {
    let (_dir, store) = store();
    let held = store.lock_other("sandbox", "4:5", soon()).unwrap();
    for (kind, which) in [("sandbox", "4:6"), ("network", "4:5")] {
        drop(store.lock_other(kind, which, Instant::now()).unwrap());
    }
    let error = store.lock_other("sandbox", "4:5", Instant::now());
    assert_eq!(error.unwrap_err().code(), ErrorCode::TRY_AGAIN);
    drop(held);
}
