//! The lock, and many at once.

use super::*;

#[test]
fn a_lock_that_is_a_link_is_refused() {
    let fixture = Fixture::new();
    fixture.write("x", b"");
    symlink(fixture.data.path().join("target"), fixture.file("lock")).unwrap();
    let error = fixture.store.lock(soon()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("lock {}", fixture.file("lock").display())
    );
    assert!(!fixture.data.path().join("target").exists());
}

#[test]
fn a_lock_held_for_ever_is_told_with_its_holder() {
    let fixture = Fixture::new();
    let held = fixture.locked();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = fixture.store.lock(deadline).unwrap_err();
    let StoreError::Locked { path, holders, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(path, &fixture.file("lock"));
    let holder = Holder {
        pid: std::process::id(),
        command: fs::read_to_string("/proc/self/comm")
            .unwrap()
            .trim_end()
            .to_owned(),
    };
    assert_eq!(holders, &[holder]);
    // The thread that still waits does not keep the lock when it gets it.
    drop(held);
    drop(fixture.store.lock(soon()).unwrap().unwrap());
}

#[test]
fn a_lock_that_is_freed_in_time_is_got() {
    let fixture = Fixture::new();
    let held = fixture.locked();
    let (started, waiting) = mpsc::channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            started.send(()).unwrap();
            fixture.store.lock(soon()).unwrap().is_some()
        });
        waiting.recv().unwrap();
        drop(held);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn many_at_once_get_different_addresses() {
    let fixture = Fixture::new();
    let spec = RangeSpec {
        subnet: "10.0.0.0/24".parse().unwrap(),
        start: None,
        end: None,
        gateway: None,
    };
    let sets = [RangeSet::new(&[spec]).unwrap()];
    let fixture = &fixture;
    let add = |id: String| {
        let me = attachment(&id, "eth0");
        let grants = allocate(&mut fixture.locked(), &sets, &[], &me).unwrap();
        grants[0].address.addr()
    };
    let mut all: Vec<IpAddr> = thread::scope(|scope| {
        let add = &add;
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                scope.spawn(move || {
                    let ids = (0..30).map(|n| format!("c{worker}-{n}"));
                    let got: Vec<IpAddr> = ids.map(add).collect();
                    // Every other one is given back and taken again.
                    for n in (0..30).step_by(2) {
                        let me = attachment(&format!("c{worker}-{n}"), "eth0");
                        let released = fixture.locked().release_attachment(&me).unwrap();
                        assert_eq!(released.addresses, [got[n]]);
                    }
                    let kept = got.into_iter().skip(1).step_by(2);
                    let again = (0..15).map(|n| add(format!("again{worker}-{n}")));
                    kept.chain(again).collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((count, all.len()), (240, 240));
    assert_eq!(fixture.locked().leases().unwrap().len(), 240);
}

#[test]
fn the_lock_is_a_flock_on_the_file_lock() {
    let fixture = Fixture::new();
    drop(fixture.locked());
    let file = File::open(fixture.file("lock")).unwrap();
    file.try_lock().unwrap();
    assert!(matches!(
        fixture.store.lock(Instant::now()),
        Err(StoreError::Locked { .. })
    ));
}

#[test]
fn any_file_can_be_locked_the_same_way() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("lock");
    let held = lock_file(&path, soon()).unwrap();
    let error = lock_file(&path, Instant::now()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(held);
    drop(lock_file(&path, soon()).unwrap());
    let elsewhere = data.path().join("none/lock");
    assert!(lock_file(&elsewhere, soon()).unwrap_err().is_not_found());
}
