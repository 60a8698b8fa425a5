//! Files: what stands where ours are to be, and what ours are for others. `bad_ipam.rs` and
//! `tuning_state.rs` have directories that cannot be, links and directories in a state file's place.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_testkit::{Conf, Runner, Snapshot, Suite, conf};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use tenon_tests::machine::{Machine, VERSION};
use tenon_tests::stranger::UID;

/// What any answer takes at most.
const PROMPT: Duration = Duration::from_secs(5);

/// What somebody else would like to keep, and where links lead.
const SECRET: &str = "/run/secret";

/// Something in the place of a file of ours.
type Obstacle = (&'static str, fn(&Path));

const OBSTACLES: [Obstacle; 10] = [
    ("a link to a file", |path| symlink(SECRET, path).unwrap()),
    ("a link to nothing", |path| {
        symlink("/run/nothing", path).unwrap();
    }),
    ("a link to itself", |path| symlink(path, path).unwrap()),
    ("a link to endless zeroes", |path| {
        symlink("/dev/zero", path).unwrap();
    }),
    ("a pipe", |path| {
        mknod(path, SFlag::S_IFIFO, Mode::S_IRWXU, 0).unwrap();
    }),
    ("a device of endless zeroes", |path| {
        mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).unwrap();
    }),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a socket", |path| {
        mknod(path, SFlag::S_IFSOCK, Mode::S_IRWXU, 0).unwrap();
    }),
    ("a file of a terabyte", |path| {
        File::create(path).unwrap().set_len(1 << 40).unwrap();
    }),
    ("somebody's file", |path| {
        fs::write(path, "secret").unwrap();
        chown(path, Some(UID), Some(UID)).unwrap();
    }),
];

/// What an obstacle is by, in the end: kind, owner, size, where it leads.
fn look(path: &Path) -> Option<(u32, u32, u64, Option<PathBuf>)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((
        found.mode(),
        found.uid(),
        found.len(),
        fs::read_link(path).ok(),
    ))
}

fn call(machine: &Machine, conf: &Conf, command: &str) -> Runner {
    machine.add(conf).command(command)
}

/// With each obstacle at `name` among the leases: `verdict` gets what it is, and the ADD's outcome.
fn among_the_leases(name: &str, verdict: impl Fn(&str, &cni_testkit::Outcome)) {
    // In the bridge's own process, and in one of its own.
    let fast_paths = ["on", "off"].into_iter().cycle();
    for ((what, put), fast_paths) in OBSTACLES.into_iter().zip(fast_paths) {
        let machine = Machine::new();
        let leases = machine.world.data_dir().join("tenon-net");
        fs::create_dir_all(&leases).unwrap();
        fs::write(SECRET, "secret").unwrap();
        let place = leases.join(name);
        put(&place);
        let before = look(&place);
        let run = |command: &str| {
            let call = call(&machine, &machine.conf(), command);
            let outcome = call.env("TENON_FAST_PATHS", fast_paths).run();
            assert!(outcome.elapsed < PROMPT, "{what} at {name}: {outcome}");
            outcome
        };
        let add = run("ADD");
        verdict(what, &add);
        let del = run("DEL");
        assert!(del.code == 0 || add.code != 0, "{what} at {name}: {del}");
        assert_eq!(
            fs::read_to_string(SECRET).unwrap(),
            "secret",
            "{what} at {name}"
        );
        assert!(!Path::new("/run/nothing").exists(), "{what} at {name}");
        if name == "10.87.0.2" {
            assert_eq!(
                look(&place),
                before,
                "{what} at {name} is foreign, and stays"
            );
        }
        assert_eq!(machine.c1.link_names(), ["lo"], "{what} at {name}");
    }
}

#[test]
fn what_stands_in_the_place_of_a_lease_is_a_taken_address() {
    among_the_leases("10.87.0.2", |what, add| {
        assert_eq!(add.code, 0, "{what}: {add}");
        assert_eq!(add.json()["ips"][0]["address"], "10.87.0.3/24", "{what}");
    });
}

#[test]
fn what_stands_in_the_place_of_the_last_address_costs_the_rotation_at_most() {
    among_the_leases("last_reserved_ip.0", |what, add| {
        if what == "a directory" {
            let text = add.expect_error(5).to_string();
            assert!(text.contains("last_reserved_ip.0"), "{what}: {text}");
        } else {
            assert_eq!(add.code, 0, "{what}: {add}");
        }
    });
}

#[test]
fn what_stands_in_the_place_of_the_lock_is_no_lock_or_is_named() {
    among_the_leases("lock", |what, add| {
        if add.code != 0 {
            let text = add.expect_error(5).to_string();
            assert!(text.contains("tenon-net/lock"), "{what}: {text}");
        }
        assert!(
            add.code != 0 || !what.starts_with("a link"),
            "{what} was followed"
        );
    });
}

/// The reference follows such a link, and so do we: another disk may be behind it. What is there
/// already is foreign, all the same.
#[test]
fn a_directory_of_leases_that_is_a_link_costs_nothing_behind_it() {
    let machine = Machine::new();
    let elsewhere = machine.world.dir().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    for name in ["passwd", "10.87.0.2", "10.87.0.300", ".tenon-tenon-net"] {
        fs::write(elsewhere.join(name), "root:x:0:0").unwrap();
    }
    fs::create_dir_all(machine.world.data_dir()).unwrap();
    symlink(&elsewhere, machine.world.data_dir().join("tenon-net")).unwrap();
    let before = Snapshot::empty().tree(&elsewhere);
    let own = |line: &Snapshot| line.clone().without("/lock 0").without("last_reserved_ip");
    let added = call(&machine, &machine.conf(), "ADD").run().expect_ok();
    assert_eq!(added.json()["ips"][0]["address"], "10.87.0.3/24");
    call(&machine, &machine.conf(), "DEL")
        .run()
        .expect_silent_ok();
    own(&before).assert_unchanged(&own(&Snapshot::empty().tree(&elsewhere)));
}

/// The records of cnm-shim: one that cannot be read is told, and nothing is followed or waited for.
#[test]
fn what_stands_in_the_place_of_a_record_is_not_followed() {
    let kinds = [
        "a link to a file",
        "a link to endless zeroes",
        "a pipe",
        "a directory",
        "a file of a terabyte",
    ];
    for (what, put) in OBSTACLES.iter().filter(|(what, _)| kinds.contains(what)) {
        let machine = Machine::new();
        fs::write(SECRET, "secret").unwrap();
        let keys = json!({"subnet": "10.76.0.0/24", "removeNetworkWhenUnused": true});
        let conf = conf::plugin(VERSION, "cnm-shim").with(keys);
        let run = |command: &str| {
            let outcome = call(&machine, &conf, command).run();
            assert!(outcome.elapsed < PROMPT, "{what}: {outcome}");
            outcome
        };
        run("ADD").expect_ok();
        let records = tenon_tests::cnm::shim::records();
        let record = records.iter().find(|path| path.contains("/endpoints/"));
        let record = record.unwrap_or_else(|| panic!("no endpoint in {records:?}"));
        let kept = fs::read(record).unwrap();
        fs::remove_file(record).unwrap();
        put(Path::new(record));
        for command in ["DEL", "ADD"] {
            let outcome = run(command);
            assert!(
                outcome.code == 0 || outcome.json()["code"].is_u64(),
                "{what}: {outcome}"
            );
        }
        assert_eq!(fs::read_to_string(SECRET).unwrap(), "secret", "{what}");
        assert!(!Path::new("/run/nothing").exists(), "{what}");
        // Who puts it right again gets rid of the attachment.
        let _ = fs::remove_file(record).or_else(|_| fs::remove_dir(record));
        fs::write(record, kept).unwrap();
        run("DEL").expect_silent_ok();
        assert_eq!(machine.c1.link_names(), ["lo"], "{what}");
    }
}

/// Every file and directory that bridge, host-local, tuning and cnm-shim make, below these. The leases
/// and the directories of leases are the reference's; drivers look into `/run/docker/netns`.
const ROOTS: [&str; 5] = [
    "/run/cni",
    "/run/docker",
    "/run/tenon",
    "/run/tenon-test/networks",
    "/var/lib/cni/cnm-shim",
];

const MODES: &str = "
0700 /run/cni/
0700 /run/cni/tuning/
0600 /run/cni/tuning/c1_eth0.json
0711 /run/docker/
0711 /run/docker/netns/
link /run/docker/netns/*
0755 /run/tenon-test/networks/
0755 /run/tenon-test/networks/tenon-net/
0600 /run/tenon-test/networks/tenon-net/10.87.0.2
0600 /run/tenon-test/networks/tenon-net/10.87.0.3
0600 /run/tenon-test/networks/tenon-net/last_reserved_ip.0
0600 /run/tenon-test/networks/tenon-net/lock
0700 /run/tenon/
0700 /run/tenon/host-local/
0600 /run/tenon/host-local/*
0700 /var/lib/cni/cnm-shim/
0700 /var/lib/cni/cnm-shim/builtin/
0700 /var/lib/cni/cnm-shim/builtin/bridge/
0600 /var/lib/cni/cnm-shim/builtin/bridge/*
0700 /var/lib/cni/cnm-shim/builtin/bridge/*/
0600 /var/lib/cni/cnm-shim/builtin/bridge/*/*
0700 /var/lib/cni/cnm-shim/builtin/ipam/
0755 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24.json
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/10.76.0.1
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/10.76.0.2
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/last_reserved_ip.0
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/last_reserved_ip.1
0600 /var/lib/cni/cnm-shim/builtin/ipam/LocalDefault_10.76.0.0_24/lock
0700 /var/lib/cni/cnm-shim/locks/
0700 /var/lib/cni/cnm-shim/networks/
0700 /var/lib/cni/cnm-shim/networks/*/
0700 /var/lib/cni/cnm-shim/networks/*/endpoints/
0600 /var/lib/cni/cnm-shim/networks/*/endpoints/*
0600 /var/lib/cni/cnm-shim/networks/*/network.json
";

/// The directories of the table, as they are; ids and digests are a `*`. All is root's.
fn modes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ROOTS {
        collect(Path::new(root), root, &mut found);
    }
    found
}

fn collect(path: &Path, shown: &str, found: &mut BTreeSet<String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (0, 0),
        "{}",
        path.display()
    );
    let mode = format!("{:04o}", metadata.mode() & 0o7777);
    if !metadata.is_dir() {
        let mode = if metadata.is_symlink() {
            "link".to_owned()
        } else {
            mode
        };
        found.insert(format!("{mode} {shown}"));
        return;
    }
    found.insert(format!("{mode} {shown}/"));
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_drawn = |c: char| c.is_ascii_hexdigit() || c == '-';
        let stem = name.strip_suffix(".json").unwrap_or(&name);
        let drawn = stem.len() >= 5 && stem.chars().all(is_drawn);
        let shown = format!("{shown}/{}", if drawn { "*" } else { &name });
        collect(&path.join(name), &shown, found);
    }
}

/// Attachments of every plugin that writes something, under a umask and with what is left of root.
fn write_everything(machine: &Machine, through: &[&str]) {
    let (world, c1) = (&machine.world, &machine.c1);
    world.hide(Path::new("/var/lib/cni"));
    let c2 = world.container("c2");
    let add = |conf: &Conf, id: &str, netns: &cni_testkit::Netns, ifname: &str| {
        let call = Suite::ours()
            .plugin(conf.0["type"].as_str().unwrap())
            .conf(conf);
        let call = call
            .command("ADD")
            .attachment(id, netns, ifname)
            .env("TENON_FAST_PATHS", "on");
        call.through(through).run().expect_ok().json()
    };
    let bridged = add(&machine.conf(), "c1", c1, "eth0");
    add(&machine.conf(), "c2", &c2, "eth0");
    let tuned = conf::plugin(VERSION, "tuning").with(json!({"mtu": 1400}));
    add(&tuned.prev_result(&bridged), "c1", c1, "eth0");
    let keys = json!({"subnet": "10.76.0.0/24", "sandboxKeyStyle": "docker"});
    add(
        &conf::plugin(VERSION, "cnm-shim").with(keys),
        "c1",
        c1,
        "eth1",
    );
}

#[test]
fn files_are_for_nobody_else_whatever_the_umask() {
    // Without its capabilities root has the permissions of the files' owner.
    let tight = "umask 0777; exec setpriv --bounding-set=-dac_override,-dac_read_search \"$0\"";
    let closed = MODES.replace("0755", "0700").replace("0711", "0700");
    let rows = [("umask 0; exec \"$0\"", MODES), (tight, &closed)];
    for (script, expected) in rows {
        let machine = Machine::new();
        write_everything(&machine, &["sh", "-c", script]);
        let expected: BTreeSet<String> = expected.trim().lines().map(str::to_owned).collect();
        let found = modes();
        let differ: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differ.is_empty(), "{script}: {differ:#?}");
    }
}
