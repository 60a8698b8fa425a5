//! Processes on the host that have no privileges: whatever they take, hold or occupy that has no
//! permissions, containers come and go as ever, and in time.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::time::Duration;

use cni_testkit::{Fakes, Snapshot, Suite, wait_for};
use serde_json::json;
use tenon_tests::filter_sockets;
use tenon_tests::machine::Machine;
use tenon_tests::network::Network;
use tenon_tests::stranger::{Occupation, UID, abstract_names, hold_lock};

/// Where DELs find each other.
const DEL: &str = "tenon bridge DEL";

/// Where who closes sockets of the packet filter for others is met.
const KEEPER: &str = "tenon nf_tables";

/// What a command that nothing holds up takes at most, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn nobody_keeps_a_del_waiting_by_taking_its_name() {
    for occupation in Occupation::ALL {
        let machine = Machine::new();
        machine.add(&machine.conf()).run().expect_ok();
        let held = occupation.take(DEL);
        let del = machine.add(&machine.conf()).command("DEL").run();
        assert!(del.elapsed < PROMPT, "{occupation:?}: {del}");
        del.expect_silent_ok();
        assert_eq!(machine.c1.link_names(), ["lo"], "{occupation:?}");
        drop(held);
    }
}

/// Where sockets are handed over to who keeps them: not to anybody.
#[test]
fn nobody_gets_a_socket_of_the_packet_filter_by_taking_its_keepers_name() {
    for occupation in Occupation::ALL {
        let machine = Machine::new();
        let conf = machine.conf().with(json!({"ipMasq": true}));
        let held = occupation.take(KEEPER);
        let add = machine.add(&conf).run();
        assert!(add.elapsed < PROMPT, "{occupation:?}: {add}");
        add.expect_ok();
        let del = machine.add(&conf).command("DEL").run();
        assert!(del.elapsed < PROMPT, "{occupation:?}: {del}");
        del.expect_silent_ok();
        wait_for("the sockets' end", PROMPT, || filter_sockets::count() == 0);
        drop(held);
    }
}

/// An ADD that is refused since the attachment's name is taken would be one that anybody could keep
/// from ever succeeding: everybody sees the name while a first one is under way.
#[test]
fn nobody_keeps_an_add_away_by_taking_its_name() {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    fakes.hanging("ipam");
    let running = machine.add_with_fakes(&fakes).start();
    let claim = || {
        let mut names = abstract_names().into_iter();
        names.find(|name| name.starts_with("tenon bridge ADD"))
    };
    wait_for("the claim of an ADD", PROMPT, || claim().is_some());
    let claim = claim().unwrap_or_default();
    // One of ours has it: the second ADD is refused.
    let second = machine.add(&machine.conf()).run();
    assert!(second.text().contains("under way"), "{second}");
    running.kill();
    machine
        .add(&machine.conf())
        .command("DEL")
        .run()
        .expect_silent_ok();
    for occupation in Occupation::ALL {
        let held = occupation.take(&claim);
        let add = machine.add(&machine.conf()).run();
        assert!(add.elapsed < PROMPT, "{occupation:?}: {add}");
        add.expect_ok();
        machine
            .add(&machine.conf())
            .command("DEL")
            .run()
            .expect_silent_ok();
        drop(held);
    }
}

/// What flock(2) can be held on is what can be opened.
#[test]
fn no_lock_that_counts_can_be_held_by_others() {
    let machine = Machine::new();
    let first = machine.world.container("c0");
    let suite = Suite::ours();
    let network = Network::new(&suite, machine.conf());
    let kept = network.add("c0", &first);
    let leases = machine.world.data_dir().join("tenon-net");
    for name in ["lock", "10.87.0.2", "last_reserved_ip.0"] {
        assert!(hold_lock(&leases.join(name)).is_none(), "{name}");
    }
    // These can be opened, and are locked for as long as the rest takes.
    let namespace = Path::new("/proc/thread-self/ns/net");
    let held: Vec<_> = [leases.as_path(), machine.c1.path(), namespace]
        .map(|path| hold_lock(path).unwrap_or_else(|| panic!("{}", path.display())))
        .into();
    let attached = network.add("c1", &machine.c1);
    attached.check_ok();
    attached.del_ok();
    kept.check_ok();
    drop(held);
    kept.del_ok();
}

/// Others may hold the lock on the namespace that tells a failed first ADD whether it may take the
/// bridge with it. Then the bridge stays, and nothing else.
#[test]
fn a_held_namespace_costs_a_failed_first_add_its_bridge_at_most() {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    fakes.failing("ipam", 77, "no");
    let held = hold_lock(Path::new("/proc/thread-self/ns/net"));
    assert!(held.is_some());
    let before = Snapshot::of(machine.world.host()).without("tenon0");
    machine.add_with_fakes(&fakes).run().expect_error(77);
    let after = Snapshot::of(machine.world.host()).without("tenon0");
    before.assert_unchanged(&after);
    assert_eq!(machine.c1.link_names(), ["lo"]);
    assert!(
        machine.world.host().link("tenon0").is_some(),
        "it would be taken back otherwise"
    );
}

/// Makes the directory somehow.
type Maker = (&'static str, fn(&Path));

/// `/run/tenon` is ours where nobody else has made it; else there is no index, and all goes without.
#[test]
fn a_directory_for_indexes_that_others_have_made_is_not_used() {
    let root = Path::new("/run/tenon");
    let made: [Maker; 4] = [
        ("somebody else's", |root| {
            fs::create_dir_all(root.join("host-local")).unwrap();
            chown(root, Some(UID), Some(UID)).unwrap();
        }),
        ("open to everybody", |root| {
            fs::create_dir_all(root.join("host-local")).unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("a link", |root| {
            fs::create_dir_all("/run/elsewhere/host-local").unwrap();
            symlink("/run/elsewhere", root).unwrap();
        }),
        ("a file", |root| fs::write(root, "").unwrap()),
    ];
    for (what, make) in made {
        let machine = Machine::new();
        make(root);
        let before = Snapshot::empty()
            .tree(root)
            .tree(Path::new("/run/elsewhere"));
        let always = |command: &str| {
            let call = machine.add(&machine.conf()).command(command);
            call.env("TENON_FAST_PATHS", "on").run()
        };
        always("ADD").expect_ok();
        // The second one scans, and would keep what it has found.
        let second = machine.world.container("c2");
        let call = machine
            .add(&machine.conf())
            .attachment("c2", &second, "eth0");
        call.env("TENON_FAST_PATHS", "on").run().expect_ok();
        let after = Snapshot::empty()
            .tree(root)
            .tree(Path::new("/run/elsewhere"));
        assert_eq!(before.diff(&after), "", "{what}");
        always("DEL").expect_silent_ok();
    }
}
