//! The index: that it is used, that it changes no outcome, and when it is not believed.

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::*;
use crate::index::Key;
use crate::lease::{Lease, LeaseText};
use crate::store::index::Policy;

mod property;

/// A directory of leases with an index of its own.
struct Indexed {
    fixture: Fixture,
    memory: TempDir,
}

impl Indexed {
    fn new(fast_paths: FastPaths) -> Self {
        Self::of(Fixture::new(), fast_paths)
    }

    fn of(mut fixture: Fixture, fast_paths: FastPaths) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = memory.path().join("tenon");
        fixture.store.index = Policy::at(&root, fast_paths);
        Self { fixture, memory }
    }

    fn with_leases(fast_paths: FastPaths, count: u16) -> Self {
        let indexed = Self::new(fast_paths);
        for n in 0..count {
            let name = format!("10.0.{}.{}", n >> 8, n & 0xff);
            indexed
                .fixture
                .write(&name, format!("c{n}\r\neth0").as_bytes());
        }
        indexed
    }

    fn locked(&self) -> LockedStore {
        self.fixture.locked()
    }

    fn root(&self) -> PathBuf {
        self.memory.path().join("tenon")
    }

    /// The files of the index: one, or none.
    fn files(&self) -> Vec<PathBuf> {
        let dir = fs::read_dir(self.root().join("host-local"));
        let entries = dir.into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Makes an index, which an operation that changes nothing does as well.
    fn build(&self) -> PathBuf {
        let nobody = attachment("nobody", "eth0");
        drop(self.locked().survey(&nobody).unwrap());
        assert!(self.is_in_step());
        self.files().remove(0)
    }

    /// Whether the next operation will go by the index.
    fn is_in_step(&self) -> bool {
        let mut locked = self.locked();
        locked.index.take(&locked.dir).is_some()
    }

    /// Fails if an index in step says anything that the leases do not.
    fn assert_true(&self) {
        let mut locked = self.locked();
        let Some(mut live) = locked.index.take(&locked.dir) else {
            return;
        };
        let mut blocks = BTreeMap::<Block, Vec<u8>>::new();
        for at in locked.addresses().unwrap() {
            let (block, offset) = Block::of(at);
            blocks.entry(block).or_default().push(offset);
        }
        for (block, offsets) in blocks {
            // A page that cannot be read says nothing.
            let Ok(taken) = live.index().taken(block) else {
                return;
            };
            for offset in 0..=u8::MAX {
                assert_eq!(taken.contains(offset), offsets.contains(&offset));
            }
        }
        for entry in fs::read_dir(self.fixture.store.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if let Ok(at) = name.parse::<IpAddr>()
                && metadata.is_file()
                && metadata.len() < 4096
            {
                let content = fs::read(&path).unwrap();
                let held = live.index().held(Key::of(&content));
                assert!(held.is_ok_and(|held| held.contains(&at)), "{name}");
            }
        }
    }

    /// Reserves an address through the allocator, as an ADD does.
    fn add(&self, id: &str) -> IpAddr {
        add(&mut self.locked(), id)
    }

    fn del(&self, id: &str) -> Vec<IpAddr> {
        let me = attachment(id, "eth0");
        let removed = self.locked().release_attachment(&me).unwrap();
        assert!(removed.errors.is_empty());
        removed.addresses
    }
}

fn pool() -> [RangeSet; 1] {
    let spec = RangeSpec {
        subnet: "10.0.0.0/16".parse().unwrap(),
        start: None,
        end: None,
        gateway: Some(addr("10.0.255.254")),
    };
    [RangeSet::new(&[spec]).unwrap()]
}

fn add(locked: &mut LockedStore, id: &str) -> IpAddr {
    let grants = allocate(locked, &pool(), &[], &attachment(id, "eth0")).unwrap();
    grants[0].address.addr()
}

#[test]
fn an_index_comes_with_some_leases_and_goes_with_the_last() {
    let indexed = Indexed::with_leases(FastPaths::WherePaying, 7);
    let me = attachment("x", "eth0");
    drop(indexed.locked().survey(&me).unwrap());
    assert!(!indexed.root().exists(), "it does not pay yet");
    assert_eq!(indexed.add("x"), addr("10.0.0.7"));
    assert!(!indexed.is_in_step());
    assert_eq!(indexed.add("y"), addr("10.0.0.8"));
    assert!(indexed.is_in_step());
    for path in [indexed.root(), indexed.root().join("host-local")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o700);
    }
    assert_eq!(
        fs::metadata(&indexed.files()[0]).unwrap().mode() & 0o7777,
        0o600
    );
    // From here on without a scan, until there are clearly fewer.
    for n in 0..5 {
        assert_eq!(indexed.del(&format!("c{n}")).len(), 1);
        assert!(indexed.is_in_step(), "{n}");
    }
    assert_eq!(indexed.del("c5").len(), 1);
    assert_eq!(fs::read_dir(indexed.memory.path()).unwrap().count(), 0);
}

#[test]
fn always_is_from_the_first_lease_on_and_never_is_never() {
    let always = Indexed::new(FastPaths::Always);
    let _addr = always.add("a");
    assert!(!always.is_in_step(), "the scan met none");
    let _addr = always.add("b");
    assert!(always.is_in_step());
    assert_eq!((always.del("a").len(), always.del("b").len()), (1, 1));
    assert_eq!(fs::read_dir(always.memory.path()).unwrap().count(), 0);

    let never = Indexed::with_leases(FastPaths::Never, 200);
    let _addr = never.add("a");
    assert_eq!(never.del("a").len(), 1);
    assert_eq!(fs::read_dir(never.memory.path()).unwrap().count(), 0);
}

/// A scan would read the file of somebody else and find him gone.
#[test]
fn what_the_index_says_is_not_read_again() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    fs::write(indexed.fixture.file("10.0.0.0"), "").unwrap();
    assert_eq!(indexed.add("x"), addr("10.0.0.20"));
    assert!(indexed.fixture.file("10.0.0.0").exists());
    assert!(indexed.is_in_step());
}

#[test]
fn every_change_of_the_directory_by_others_is_noticed() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    let at = |name: &str| indexed.fixture.file(name);
    let changes: [(&str, &dyn Fn()); 8] = [
        ("create", &|| {
            fs::write(at("10.0.9.1"), "r\r\neth0").unwrap();
        }),
        ("rename", &|| {
            fs::rename(at("10.0.9.1"), at("10.0.9.2")).unwrap();
        }),
        ("replace", &|| {
            fs::rename(at("10.0.9.2"), at("10.0.0.3")).unwrap();
        }),
        ("link", &|| {
            fs::hard_link(at("10.0.0.4"), at("10.0.9.4")).unwrap();
        }),
        ("remove", &|| fs::remove_file(at("10.0.0.4")).unwrap()),
        ("directory", &|| fs::create_dir(at("10.0.9.5")).unwrap()),
        ("remove directory", &|| {
            fs::remove_dir(at("10.0.9.5")).unwrap();
        }),
        ("symbolic link", &|| symlink("x", at("10.0.9.6")).unwrap()),
    ];
    for (what, change) in changes {
        indexed.build();
        change();
        assert!(!indexed.is_in_step(), "{what}");
    }
}

/// Another directory with the very marker, as a copy or a restored one has it.
#[test]
fn a_marker_that_somebody_else_has_set_is_not_ours() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    let dir = File::open(indexed.fixture.store.path()).unwrap();
    let before = dir.metadata().unwrap();
    fs::remove_file(indexed.fixture.file("10.0.0.3")).unwrap();
    let marker = TimeSpec::new(before.mtime(), before.mtime_nsec());
    futimens(&dir, &TimeSpec::UTIME_OMIT, &marker).unwrap();
    let after = dir.metadata().unwrap();
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert!(!indexed.is_in_step());
}

#[test]
fn a_lease_edited_in_place_is_looked_at_before_it_is_released_or_refused() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    fs::write(indexed.fixture.file("10.0.0.7"), "other\r\neth0").unwrap();
    assert!(indexed.is_in_step(), "nothing tells");
    assert!(indexed.del("c7").is_empty());
    assert!(indexed.fixture.file("10.0.0.7").exists());
    // Once noticed, the file counts.
    assert!(indexed.is_in_step());
    assert_eq!(indexed.del("other"), [addr("10.0.0.7")]);
    // And an ADD that would have been refused is not.
    fs::write(indexed.fixture.file("10.0.0.8"), "other\r\neth0").unwrap();
    assert_eq!(indexed.add("c8"), addr("10.0.0.7"));
    indexed.assert_true();
}

/// Before a pool is called full, the leases themselves are asked.
#[test]
fn an_address_that_only_the_index_holds_is_given_in_the_end() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    fs::write(indexed.fixture.file("10.0.0.5"), "").unwrap();
    let spec = RangeSpec {
        subnet: "10.0.0.0/28".parse().unwrap(),
        start: None,
        end: None,
        gateway: None,
    };
    let sets = [RangeSet::new(&[spec]).unwrap()];
    let me = attachment("x", "eth0");
    let grants = allocate(&mut indexed.locked(), &sets, &[], &me).unwrap();
    assert_eq!(grants[0].address.addr(), addr("10.0.0.5"));
    let full = allocate(&mut indexed.locked(), &sets, &[], &attachment("y", "eth0"));
    assert!(
        full.unwrap_err()
            .error
            .to_string()
            .contains("no IP addresses available")
    );
    indexed.assert_true();
}

#[test]
fn leases_in_the_old_form_are_found_by_the_index() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.fixture.write("10.0.1.1", b"old\n");
    indexed.fixture.write("10.0.1.2", b" both\r\neth0\n");
    indexed.fixture.write("10.0.1.3", b"both");
    indexed.build();
    assert_eq!(indexed.del("old"), [addr("10.0.1.1")]);
    assert_eq!(indexed.del("both"), [addr("10.0.1.2")]);
    assert_eq!(indexed.del("both"), [addr("10.0.1.3")]);
    assert!(indexed.is_in_step());
    indexed.assert_true();
}

/// Wherever the last of these steps was, the leases are right and the index is right or not used.
#[test]
fn a_crash_between_any_two_steps_is_harmless() {
    for steps in 0_u32.. {
        let indexed = Indexed::with_leases(FastPaths::Always, 20);
        indexed.build();
        let mut locked = indexed.locked();
        let at = add(&mut locked, "x");
        let (mut left, mut cut) = (steps, false);
        locked.commit(|| {
            cut |= left == 0;
            left = left.saturating_sub(1);
            !cut
        });
        drop(locked);
        assert_eq!(indexed.is_in_step(), !cut, "after {steps}");
        assert_eq!(indexed.add("y"), addr("10.0.0.21"), "after {steps}");
        assert_eq!(indexed.del("x"), [at], "after {steps}");
        indexed.assert_true();
        if !cut {
            assert!(steps >= 5, "only {steps} steps");
            return;
        }
    }
}

/// A lease was made and the process killed before anything of the index was written.
#[test]
fn a_crash_right_after_a_change_is_harmless() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    let mut locked = indexed.locked();
    let at = add(&mut locked, "x");
    locked.commit(|| false);
    drop(locked);
    assert!(!indexed.is_in_step());
    assert_eq!(indexed.del("x"), [at]);
}

/// Does something to the file of an index.
type Breakage = fn(&Path);
/// The same, and may use a second path.
type Obstacle = fn(&Path, &Path);

#[test]
fn an_index_that_is_broken_costs_a_scan() {
    let breakages: [(&str, Breakage); 5] = [
        ("empty", |path| fs::write(path, "").unwrap()),
        ("rubbish", |path| fs::write(path, [0xff; 9000]).unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("short", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(4096)
                .unwrap();
        }),
        ("emptied", |path| {
            let header = fs::read(path).unwrap()[..4096].to_vec();
            fs::write(path, [header, vec![0; 8192]].concat()).unwrap();
        }),
    ];
    for (what, break_it) in breakages {
        let indexed = Indexed::with_leases(FastPaths::Always, 20);
        break_it(&indexed.build());
        assert_eq!(indexed.add("x"), addr("10.0.0.20"), "{what}");
        assert_eq!(indexed.del("x"), [addr("10.0.0.20")], "{what}");
        drop(indexed.locked().survey(&attachment("x", "eth0")).unwrap());
        indexed.assert_true();
    }
}

/// Whoever could have made it could have written anything into it.
#[test]
fn an_index_that_others_could_have_made_is_not_opened() {
    let in_the_way: [(&str, Obstacle); 6] = [
        ("file for others", |file, _| set_mode(file, 0o644)),
        ("directory for others", |file, _| {
            set_mode(file.parent().unwrap(), 0o777);
        }),
        ("second name", |file, spare| {
            fs::hard_link(file, spare).unwrap();
        }),
        ("link", |file, spare| {
            fs::rename(file, spare).unwrap();
            symlink(spare, file).unwrap();
        }),
        ("linked directory", |file, spare| {
            fs::rename(file.parent().unwrap(), spare).unwrap();
            symlink(spare, file.parent().unwrap()).unwrap();
        }),
        ("pipe", |file, _| {
            fs::remove_file(file).unwrap();
            mkfifo(file, Mode::S_IRWXU).unwrap();
        }),
    ];
    for (what, put) in in_the_way {
        let indexed = Indexed::with_leases(FastPaths::Always, 20);
        let file = indexed.build();
        let spare = indexed.memory.path().join("spare");
        put(&file, &spare);
        let look = |path: &Path| {
            fs::symlink_metadata(path)
                .map(|m| (m.mode(), m.ino(), m.size()))
                .ok()
        };
        let before = (look(&file), look(&spare));
        assert!(!indexed.is_in_step(), "{what}");
        assert_eq!(indexed.add("x"), addr("10.0.0.20"), "{what}");
        assert_eq!(indexed.del("x"), [addr("10.0.0.20")], "{what}");
        assert_eq!((look(&file), look(&spare)), before, "{what}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn garbage_is_collected_past_the_index_which_is_made_anew() {
    let indexed = Indexed::with_leases(FastPaths::Always, 40);
    indexed.build();
    let valid = |lease: &Lease| lease.container_id.ends_with('3');
    let removed = indexed.locked().collect_garbage(valid);
    assert_eq!(removed.addresses.len(), 36);
    assert!(indexed.is_in_step());
    indexed.assert_true();
    assert_eq!(indexed.del("c13"), [addr("10.0.0.13")]);
    assert!(
        indexed
            .locked()
            .collect_garbage(|_| false)
            .errors
            .is_empty()
    );
    assert_eq!(fs::read_dir(indexed.memory.path()).unwrap().count(), 0);
}

/// Whoever undoes an ADD knows the address only.
#[test]
fn a_lease_released_by_its_address_leaves_the_index_as_well() {
    let indexed = Indexed::with_leases(FastPaths::Always, 20);
    indexed.build();
    indexed.locked().release(addr("10.0.0.5")).unwrap();
    assert!(indexed.is_in_step());
    indexed.assert_true();
    // What is not there the index should not have known.
    indexed.locked().release(addr("10.0.0.5")).unwrap();
    assert!(!indexed.is_in_step());
}

/// Tens of thousands in one directory, until the tables have to grow.
#[test]
fn an_index_grows_with_its_leases() {
    let indexed = Indexed::new(FastPaths::WherePaying);
    for n in 0..1500_u32 {
        let want = addr(&format!("10.0.{}.{}", (n + 1) >> 8, (n + 1) & 0xff));
        assert_eq!(indexed.add(&format!("c{n}")), want);
    }
    assert!(indexed.is_in_step());
    indexed.assert_true();
    let text = LeaseText::of(&attachment("c700", "eth0"));
    let mut locked = indexed.locked();
    let held = locked
        .index
        .ask(&locked.dir, |index| index.held(Key::of(text.as_bytes())));
    assert_eq!(held, Some(vec![addr("10.0.2.189")]));
}
