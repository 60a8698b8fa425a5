//! Any sequence of operations, by us and by others, with and without an index: the same results and
//! the same files.

use proptest::prelude::*;

use super::*;

/// Where the leases are: two families, and ranges whose pools are soon full.
fn sets() -> [RangeSet; 2] {
    let spec = |subnet: &str, start: &str, end: &str| RangeSpec {
        subnet: subnet.parse().unwrap(),
        start: Some(addr(start)),
        end: Some(addr(end)),
        gateway: None,
    };
    let v4 = [
        spec("10.0.0.0/24", "10.0.0.250", "10.0.0.254"),
        spec("10.0.1.0/24", "10.0.1.1", "10.0.1.6"),
    ];
    let v6 = [spec("fd00::/64", "fd00::fa", "fd00::108")];
    [&v4[..], &v6[..]].map(|specs| RangeSet::new(specs).unwrap())
}

/// An address of one of the sets, a gateway, or one beside them.
fn place() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![250_u8..=255, 0_u8..8].prop_map(|n| [10, 0, u8::from(n < 100), n].into());
    let v6 = (0xf8_u16..0x10a).prop_map(|n| [0xfd00, 0, 0, 0, 0, 0, 0, n].into());
    prop_oneof![v4, v6]
}

#[derive(Debug, Clone)]
enum Step {
    Add {
        id: u8,
        ifname: bool,
        requested: Option<IpAddr>,
    },
    Del {
        id: u8,
        ifname: bool,
    },
    Release {
        at: IpAddr,
    },
    Gc {
        keep: u8,
    },
    /// What others do, with plain files and within the same tick of the clock.
    Other(Other, IpAddr, u8),
}

#[derive(Debug, Clone, Copy)]
enum Other {
    /// The reference's ADD, its older releases' and a crash in the middle.
    Lease,
    OldForm,
    Empty,
    Remove,
    Directory,
    Link,
    Foreign,
}

/// What becomes of the index in a step.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    /// The process ends after so many steps of writing it.
    Crash(u8),
    /// The fast paths are off this once.
    Off,
    Removed,
    Truncated,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0_u8..12;
    let other = prop_oneof![
        4 => Just(Other::Lease),
        1 => Just(Other::OldForm),
        1 => Just(Other::Empty),
        2 => Just(Other::Remove),
        1 => Just(Other::Directory),
        1 => Just(Other::Link),
        1 => Just(Other::Foreign),
    ];
    prop_oneof![
        8 => (id(), any::<bool>(), proptest::option::weighted(0.3, place()))
            .prop_map(|(id, ifname, requested)| Step::Add { id, ifname, requested }),
        6 => (id(), any::<bool>()).prop_map(|(id, ifname)| Step::Del { id, ifname }),
        1 => place().prop_map(|at| Step::Release { at }),
        1 => id().prop_map(|keep| Step::Gc { keep }),
        3 => (other, place(), id()).prop_map(|(what, at, id)| Step::Other(what, at, id)),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Kept),
        3 => (0_u8..7).prop_map(Fate::Crash),
        1 => Just(Fate::Off),
        1 => Just(Fate::Removed),
        1 => Just(Fate::Truncated),
    ]
}

fn owner(id: u8, ifname: bool) -> Attachment {
    attachment(&format!("c{id}"), if ifname { "eth0" } else { "net1" })
}

/// One step of ours, its outcome as text.
fn run(locked: &mut LockedStore, step: &Step) -> String {
    match step {
        Step::Add {
            id,
            ifname,
            requested,
        } => {
            let requested: Vec<IpAddr> = requested.iter().copied().collect();
            match allocate(locked, &sets(), &requested, &owner(*id, *ifname)) {
                Ok(grants) => format!("{grants:?}"),
                Err(failure) => format!("{} {}", failure.error, failure.left.len()),
            }
        }
        Step::Del { id, ifname } => {
            let removed = locked.release_attachment(&owner(*id, *ifname)).unwrap();
            format!("{:?} {}", removed.addresses, removed.errors.len())
        }
        // Not what a link leads to, nor a directory.
        Step::Release { at } => format!("{:?}", locked.release(*at).map_err(|e| e.is_not_found())),
        Step::Gc { keep } => {
            let keeps = |lease: &Lease| lease.container_id.len() + usize::from(*keep) > 9;
            let mut removed = locked.collect_garbage(keeps);
            removed.addresses.sort_unstable();
            format!("{:?} {}", removed.addresses, removed.errors.len())
        }
        Step::Other(..) => String::new(),
    }
}

/// What others do to a directory, under the lock as they should.
fn meddle(fixture: &Fixture, what: Other, at: IpAddr, id: u8) {
    let path = fixture.file(&at.to_string());
    let lock = File::open(fixture.file("lock")).unwrap();
    lock.lock().unwrap();
    let create = |content: String| {
        if !path.exists() && !path.is_symlink() {
            fs::write(&path, content).unwrap();
        }
    };
    match what {
        Other::Lease => {
            create(format!("c{id}\r\neth0"));
            fs::write(
                fixture.file(&format!("last_reserved_ip.{}", id % 2)),
                at.to_string(),
            )
            .unwrap();
        }
        Other::OldForm => create(format!("c{id}\n")),
        Other::Empty => create(String::new()),
        Other::Foreign => create("x".repeat(5000)),
        Other::Remove => drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path))),
        Other::Directory => drop(fs::create_dir(&path)),
        Other::Link => drop(symlink("nowhere", &path)),
    }
}

/// What stands in a directory: names, kinds and contents.
fn listing(fixture: &Fixture) -> BTreeMap<String, String> {
    let entries = fs::read_dir(fixture.store.path())
        .unwrap()
        .map(Result::unwrap);
    let shown = entries.map(|entry| {
        let kind = entry.file_type().unwrap();
        let content = if kind.is_file() {
            fs::read_to_string(entry.path()).unwrap()
        } else {
            String::new()
        };
        (
            entry.file_name().into_string().unwrap(),
            format!("{kind:?} {content}"),
        )
    });
    shown.collect()
}

fn step_with_index(indexed: &mut Indexed, step: &Step, fate: Fate) -> String {
    let policy = indexed.fixture.store.index.clone();
    match (fate, indexed.files().first()) {
        (Fate::Removed, Some(file)) => fs::remove_file(file).unwrap(),
        (Fate::Truncated, Some(file)) => File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(5000)
            .unwrap(),
        (Fate::Off, _) => indexed.fixture.store.index = None,
        _ => {}
    }
    let mut locked = indexed.locked();
    let outcome = run(&mut locked, step);
    if let Fate::Crash(mut left) = fate {
        locked.commit(|| {
            let go_on = left > 0;
            left = left.saturating_sub(1);
            go_on
        });
    }
    drop(locked);
    indexed.fixture.store.index = policy;
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn with_an_index_everything_is_as_without(
        steps in proptest::collection::vec((step(), fate()), 1..60)
    ) {
        let in_memory = || Fixture::of(tempfile::tempdir_in("/dev/shm").unwrap());
        let plain = in_memory();
        let mut indexed = Indexed::of(in_memory(), FastPaths::Always);
        drop((plain.locked(), indexed.locked()));
        for (n, (step, fate)) in steps.into_iter().enumerate() {
            if let Step::Other(what, at, id) = step {
                meddle(&plain, what, at, id);
                meddle(&indexed.fixture, what, at, id);
            } else {
                let expected = run(&mut plain.locked(), &step);
                prop_assert_eq!(step_with_index(&mut indexed, &step, fate), expected, "{} {:?}", n, step);
            }
            prop_assert_eq!(listing(&indexed.fixture), listing(&plain), "{} {:?}", n, step);
            indexed.assert_true();
        }
    }
}
