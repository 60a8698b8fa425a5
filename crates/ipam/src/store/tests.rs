mod index;
mod lock;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cni_types::Attachment;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;
use crate::allocate::allocate;
use crate::blocks::Block;
use crate::lease::{Holding, Store, Survey};
use crate::range::{RangeSet, RangeSpec};

struct Fixture {
    data: TempDir,
    store: LeaseStore,
}

impl Fixture {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(data: TempDir) -> Self {
        let store = LeaseStore::new(&data.path().join("networks"), &"net".parse().unwrap());
        Self { data, store }
    }

    fn locked(&self) -> LockedStore {
        self.store.lock_or_create(soon()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.store.path()).unwrap();
        fs::write(self.file(name), content).unwrap();
    }

    /// Every file of the directory with its content.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.store.path()).unwrap().map(Result::unwrap);
        let named = entries.map(|entry| {
            let content = fs::read(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, String::from_utf8(content).unwrap())
        });
        named.collect()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn attachment(container: &str, ifname: &str) -> Attachment {
    Attachment {
        network: "net".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    }
}

/// What is taken of 10.0.0.0/24.
fn taken(locked: &mut LockedStore) -> Vec<IpAddr> {
    let block = Block::of(addr("10.0.0.0")).0;
    let taken = locked.taken(block).unwrap();
    let offsets = (0..=u8::MAX).filter(|offset| taken.contains(*offset));
    offsets.map(|offset| block.addr(offset)).collect()
}

#[test]
fn the_layout_is_the_references_to_the_byte() {
    let fixture = Fixture::new();
    let mut locked = fixture.locked();
    let me = attachment("abc", "eth0");
    assert!(locked.reserve(addr("10.0.0.2"), &me, 0).unwrap());
    assert!(locked.reserve(addr("2001:db8::2"), &me, 1).unwrap());
    let want = [
        ("10.0.0.2", "abc\r\neth0"),
        ("2001:db8::2", "abc\r\neth0"),
        ("last_reserved_ip.0", "10.0.0.2"),
        ("last_reserved_ip.1", "2001:db8::2"),
        ("lock", ""),
    ];
    let want = want.map(|(name, content)| (name.to_owned(), content.to_owned()));
    assert_eq!(fixture.files(), BTreeMap::from(want));
    for name in ["10.0.0.2", "last_reserved_ip.0", "lock"] {
        let mode = fs::metadata(fixture.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    // Nothing is left beside the network's directory either.
    assert_eq!(
        fs::read_dir(fixture.data.path().join("networks"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn an_address_is_reserved_once_and_released_as_often_as_one_likes() {
    let fixture = Fixture::new();
    let mut locked = fixture.locked();
    let (a, b) = (attachment("a", "eth0"), attachment("b", "eth0"));
    let at = addr("10.0.0.2");
    assert!(locked.reserve(at, &a, 0).unwrap());
    assert!(!locked.reserve(at, &b, 0).unwrap());
    assert_eq!(locked.holding(at, &a).unwrap(), Holding::Attachment);
    assert_eq!(locked.holding(at, &b).unwrap(), Holding::Others);
    locked.release(at).unwrap();
    locked.release(at).unwrap();
    assert_eq!(locked.holding(at, &a).unwrap(), Holding::Nobody);
    assert!(locked.reserve(at, &b, 0).unwrap());
}

#[test]
fn the_rotation_is_remembered_whatever_the_lengths() {
    let fixture = Fixture::new();
    let mut locked = fixture.locked();
    for text in [
        "10.0.0.2",
        "10.0.0.200",
        "10.0.0.3",
        "10.0.0.4",
        "255.255.255.254",
    ] {
        assert!(
            locked
                .reserve(addr(text), &attachment("a", "eth0"), 7)
                .unwrap()
        );
        assert_eq!(locked.last_reserved(7), Some(addr(text)));
        assert_eq!(fixture.files()["last_reserved_ip.7"], text);
    }
}

#[test]
fn a_rotation_that_cannot_be_read_is_no_rotation() {
    let fixture = Fixture::new();
    for content in [&b""[..], b"10.0.0", b"\xff", b"10.0.0.2\n", &[b'1'; 5000]] {
        fixture.write("last_reserved_ip.0", content);
        assert_eq!(fixture.locked().last_reserved(0), None, "{content:?}");
    }
    assert_eq!(fixture.locked().last_reserved(1), None);
}

#[test]
fn files_that_a_crash_left_empty_are_taken_over() {
    let fixture = Fixture::new();
    fixture.write("10.0.0.2", b"");
    fixture.write("10.0.0.3", b"\0\0\0\0");
    fixture.write("10.0.0.4", b"x\r\neth0");
    let me = attachment("a", "eth0");
    // As a requested address.
    assert!(fixture.locked().reserve(addr("10.0.0.2"), &me, 0).unwrap());
    // And as what a survey finds.
    let mut locked = fixture.locked();
    let survey = locked.survey(&attachment("b", "eth0")).unwrap();
    assert_eq!(survey, Survey::default());
    assert_eq!(taken(&mut locked), ["10.0.0.2", "10.0.0.4"].map(addr));
    drop(locked);
    assert!(!fixture.file("10.0.0.3").exists());
    // Reading alone changes nothing, and does not count them.
    fixture.write("10.0.0.3", b"");
    let dir = fixture.store.open().unwrap().unwrap();
    assert_eq!(dir.leases().unwrap().len(), 2);
    assert_eq!(
        (
            dir.addresses().unwrap().len(),
            dir.reserved().unwrap().len()
        ),
        (3, 2)
    );
    assert!(fixture.file("10.0.0.3").exists());
}

#[test]
fn del_releases_exactly_the_attachments_leases() {
    let fixture = Fixture::new();
    for (name, content) in [
        ("10.0.0.2", "a\r\neth0"),
        ("10.0.0.3", "a\r\neth1"),
        ("10.0.0.4", "b\r\neth0"),
        ("10.0.0.5", " a\r\neth0\n"),
        ("10.0.0.6", "a"),
        ("fd00::2", "a\r\neth0"),
    ] {
        fixture.write(name, content.as_bytes());
    }
    let me = attachment("a", "eth0");
    let mut released = fixture.locked().release_attachment(&me).unwrap();
    released.addresses.sort_unstable();
    assert_eq!(
        released.addresses,
        ["10.0.0.2", "10.0.0.5", "fd00::2"].map(addr)
    );
    assert!(released.errors.is_empty());
    // Only when there is nothing in the new form the old form counts.
    let released = fixture.locked().release_attachment(&me).unwrap();
    assert_eq!(released.addresses, [addr("10.0.0.6")]);
    let released = fixture.locked().release_attachment(&me).unwrap();
    assert!(released.addresses.is_empty() && released.errors.is_empty());
}

#[test]
fn garbage_is_what_nobody_wants_kept() {
    let fixture = Fixture::new();
    for (name, content) in [
        ("10.0.0.2", "a\r\neth0"),
        ("10.0.0.3", "b\r\neth0"),
        ("10.0.0.4", ""),
        ("last_reserved_ip.0", "10.0.0.4"),
        ("README", "hello"),
    ] {
        fixture.write(name, content.as_bytes());
    }
    fs::create_dir(fixture.file("10.0.0.9")).unwrap();
    let mut removed = fixture
        .locked()
        .collect_garbage(|lease| lease.container_id == "a");
    removed.addresses.sort_unstable();
    assert_eq!(removed.addresses, ["10.0.0.3", "10.0.0.4"].map(addr));
    assert!(removed.errors.is_empty());
    fs::remove_dir(fixture.file("10.0.0.9")).unwrap();
    let left: Vec<String> = fixture.files().into_keys().collect();
    assert_eq!(left, ["10.0.0.2", "README", "last_reserved_ip.0", "lock"]);
}

#[test]
fn what_is_foreign_is_neither_followed_nor_waited_for_nor_removed() {
    let fixture = Fixture::new();
    let outside = fixture.data.path().join("outside");
    fs::write(&outside, "a\r\neth0").unwrap();
    fixture.write("10.0.0.2", &vec![b'x'; 1 << 20]);
    symlink(&outside, fixture.file("10.0.0.3")).unwrap();
    symlink("/nonexistent", fixture.file("10.0.0.4")).unwrap();
    mkfifo(&fixture.file("10.0.0.5"), Mode::S_IRWXU).unwrap();
    fs::create_dir(fixture.file("10.0.0.6")).unwrap();
    fs::write(fixture.file("10.0.0.6/10.0.0.7"), "a\r\neth0").unwrap();
    fs::write(
        fixture
            .store
            .path()
            .join(std::ffi::OsStr::from_bytes(b"10.0.\xff")),
        "a\r\neth0",
    )
    .unwrap();
    symlink(&outside, fixture.file("last_reserved_ip.0")).unwrap();
    let me = attachment("a", "eth0");
    let mut locked = fixture.locked();
    let foreign = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"].map(addr);
    let survey = locked.survey(&me).unwrap();
    assert_eq!(taken(&mut locked), foreign);
    assert_eq!(survey.held().count(), 0);
    for at in foreign {
        assert_eq!(locked.holding(at, &me).unwrap(), Holding::Others, "{at}");
        assert!(!locked.reserve(at, &me, 0).unwrap(), "{at}");
    }
    assert!(locked.release_attachment(&me).unwrap().addresses.is_empty());
    let removed = locked.collect_garbage(|_| false);
    assert!(removed.addresses.is_empty() && removed.errors.is_empty());
    // A link in place of the rotation is replaced, what it points to is not written to.
    assert!(locked.reserve(addr("10.0.0.8"), &me, 0).unwrap());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "a\r\neth0");
    assert!(
        fs::symlink_metadata(fixture.file("last_reserved_ip.0"))
            .unwrap()
            .is_file()
    );
    assert!(fixture.file("10.0.0.6/10.0.0.7").exists());
}

#[test]
fn a_second_name_of_the_rotation_is_not_written_through() {
    let fixture = Fixture::new();
    fixture.write("last_reserved_ip.0", b"10.0.0.1");
    let other = fixture.data.path().join("other");
    fs::hard_link(fixture.file("last_reserved_ip.0"), &other).unwrap();
    assert!(
        fixture
            .locked()
            .reserve(addr("10.0.0.2"), &attachment("a", "eth0"), 0)
            .unwrap()
    );
    assert_eq!(fs::read_to_string(other).unwrap(), "10.0.0.1");
    assert_eq!(fixture.files()["last_reserved_ip.0"], "10.0.0.2");
}

#[test]
fn a_rotation_that_cannot_be_written_leaves_no_lease() {
    let fixture = Fixture::new();
    fixture.write("x", b"");
    fs::create_dir(fixture.file("last_reserved_ip.0")).unwrap();
    let error = fixture
        .locked()
        .reserve(addr("10.0.0.2"), &attachment("a", "eth0"), 0)
        .unwrap_err();
    assert!(error.to_string().starts_with("remove /"), "{error}");
    assert!(!fixture.file("10.0.0.2").exists());
}

#[test]
fn without_a_directory_there_is_nothing_and_nothing_is_made() {
    let fixture = Fixture::new();
    assert!(fixture.store.open().unwrap().is_none());
    assert!(fixture.store.lock(soon()).unwrap().is_none());
    fixture.store.check_writable().unwrap();
    assert_eq!(fs::read_dir(fixture.data.path()).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_way_of_the_directory_is_told() {
    let fixture = Fixture::new();
    fs::write(fixture.data.path().join("networks"), "").unwrap();
    for error in [
        fixture.store.lock_or_create(soon()).unwrap_err(),
        fixture.store.check_writable().unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
    }
}

#[test]
fn without_unnamed_files_a_lease_is_linked_from_outside_the_directory() {
    let fixture = Fixture::new();
    drop(fixture.locked());
    let dir = LeaseDir::open(fixture.store.path()).unwrap();
    let data_dir = fixture.data.path().join("networks");
    // What a crash left of an earlier one is in nobody's way.
    fs::write(data_dir.join(".tenon-net"), "half").unwrap();
    assert!(write::create_elsewhere(&dir, &data_dir, "10.0.0.2", b"a\r\neth0").unwrap());
    assert!(!write::create_elsewhere(&dir, &data_dir, "10.0.0.2", b"b\r\neth0").unwrap());
    assert_eq!(fixture.files()["10.0.0.2"], "a\r\neth0");
    let metadata = fs::metadata(fixture.file("10.0.0.2")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
    assert!(!data_dir.join(".tenon-net").exists());
}

#[test]
fn an_id_longer_than_a_lease_is_refused() {
    let fixture = Fixture::new();
    let me = attachment(&"a".repeat(5000), "eth0");
    let error = fixture
        .locked()
        .reserve(addr("10.0.0.2"), &me, 0)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::TooLong { length: 5000 }),
        "{error}"
    );
    assert!(!fixture.file("10.0.0.2").exists());
}
