//! DEL by the quick way: what is left to a child, and what several DELs do together. Whatever happens to
//! any of the processes, the links are gone when DEL says so, or after the next one.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use cni_testkit::{Netns, Runner, Suite, World, conf, require, wait_for};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::{Value, json};
use tenon_tests::at_once::run_at_once;
use tenon_tests::network::{Attached, Network};
use tenon_tests::reaper;

const VERSION: &str = "1.0.0";
const SUBNET: &str = "10.86.0.0/16";
const SWITCH: &str = "TENON_FAST_PATHS";
/// Where it pays, always, and never.
const MODES: [&str; 3] = ["", "on", "off"];
/// The socket of whoever deletes for others.
const LEADER: &str = "tenon bridge DEL";

fn network<'a>(suite: &'a Suite, world: &World) -> Network<'a> {
    Network::new(
        suite,
        conf::bridge(VERSION).ipam(conf::host_local(world, &[SUBNET])),
    )
}

fn masquerading<'a>(suite: &'a Suite, world: &World) -> Network<'a> {
    network(suite, world).edited(|conf| conf.with(json!({"ipMasq": true, "macspoofchk": true})))
}

fn containers(world: &World, count: usize) -> Vec<(String, Netns)> {
    let ids = (0..count).map(|index| format!("pod{index}"));
    ids.map(|id| (id.clone(), world.container(&id))).collect()
}

fn del(attached: &Attached<'_>, mode: &str) -> Runner {
    let call = attached.call("DEL").env(SWITCH, mode);
    call.timeout(Duration::from_secs(60))
}

#[track_caller]
fn assert_gone(world: &World, attached: &Attached<'_>, netns: &Netns, what: &str) {
    assert_eq!(world.host().link(attached.host_end()), None, "{what}");
    assert_eq!(netns.link("eth0"), None, "{what}");
}

#[track_caller]
fn assert_nothing_left(world: &World, ids: &[&str]) {
    let left = world.snapshot().without("last_reserved_ip");
    assert_eq!(left.naming(ids), Vec::<&str>::new());
    assert_eq!(world.host().link_names(), ["lo", "tenon0"]);
}

#[test]
fn links_are_gone_when_the_process_has_ended() {
    let suite = Suite::ours();
    for mode in MODES {
        let world = World::new();
        let c1 = world.container("c1");
        for network in [network(&suite, &world), masquerading(&suite, &world)] {
            for _again in 0..20 {
                let attached = network.add("c1", &c1);
                del(&attached, mode).run().expect_silent_ok();
                assert_gone(&world, &attached, &c1, mode);
            }
        }
        assert_nothing_left(&world, &["c1"]);
    }
}

/// The kernel is not done with the old link when the new one is made.
#[test]
fn the_same_names_and_address_can_be_had_again_at_once() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let keys = json!({"dataDir": world.data_dir(), "type": "host-local",
        "ranges": [[{"subnet": SUBNET, "rangeStart": "10.86.0.2", "rangeEnd": "10.86.0.2"}]]});
    let conf = conf::bridge(VERSION)
        .ipam(keys)
        .with(json!({"ipMasq": true}));
    let network = Network::new(&suite, conf);
    for round in 0..200 {
        let attached = network.add("c1", &c1);
        assert_eq!(attached.address(), "10.86.0.2");
        if round % 20 == 0 {
            assert!(world.host().ping("10.86.0.2"), "round {round}");
        }
        let mode = MODES[usize::from(round % 2 == 0)];
        del(&attached, mode).run().expect_silent_ok();
    }
    assert_nothing_left(&world, &["c1"]);
}

/// A runtime reads until all who have the pipe have closed it.
#[test]
fn the_pipes_are_closed_when_the_process_has_ended() {
    let suite = Suite::ours();
    for mode in ["", "on"] {
        let world = World::new();
        let c1 = world.container("c1");
        for network in [network(&suite, &world), masquerading(&suite, &world)] {
            for _again in 0..10 {
                let attached = network.add("c1", &c1);
                let (mut reader, writer) = std::io::pipe().unwrap();
                let ended = end_of(&suite, &attached, mode, writer);
                assert!(ended.success());
                nix::fcntl::fcntl(
                    &reader,
                    nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
                )
                .unwrap();
                let mut said = String::new();
                reader
                    .read_to_string(&mut said)
                    .expect("somebody has it open");
                assert_eq!(said, "");
            }
        }
    }
}

/// Runs DEL with a pipe of ours as its stdout and stderr.
fn end_of(
    suite: &Suite,
    attached: &Attached<'_>,
    mode: &str,
    writer: std::io::PipeWriter,
) -> std::process::ExitStatus {
    let conf = attached.network().conf().clone();
    let mut plugin = std::process::Command::new(suite.bin_dir().join("bridge"))
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", "/run/netns/c1")
        .env(SWITCH, mode)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", suite.bin_dir())
        .stdin(std::process::Stdio::piped())
        .stderr(writer.try_clone().unwrap())
        .stdout(writer)
        .spawn()
        .unwrap();
    let input = conf.prev_result(&attached.result).to_string();
    let mut stdin = plugin.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    plugin.wait().unwrap()
}

/// Children outlive the DEL, but not for long, and well.
#[test]
fn no_process_stays() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    set_child_subreaper(true).unwrap();
    for mode in ["", "on"] {
        let attached = masquerading(&suite, &world).add("c1", &c1);
        del(&attached, mode).run().expect_silent_ok();
        let start = Instant::now();
        let mut ended = 0;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(_none_left) => break,
                Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
                Ok(WaitStatus::Exited(_, 0)) => ended += 1,
                Ok(other) => panic!("{other:?}"),
            }
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        assert!(ended > 0, "{mode:?}: there was no child");
    }
}

#[test]
fn fifty_at_once_leave_nothing() {
    let suite = Suite::ours();
    for mode in MODES {
        let world = World::new();
        let containers = containers(&world, 50);
        let network = masquerading(&suite, &world);
        let attached: Vec<_> = containers
            .iter()
            .map(|(id, netns)| network.add(id, netns))
            .collect();
        let calls: Vec<_> = attached.iter().map(|one| del(one, mode)).collect();
        for outcome in run_at_once(&calls) {
            outcome.expect_silent_ok();
        }
        for (one, (_, netns)) in attached.iter().zip(&containers) {
            assert_gone(&world, one, netns, mode);
        }
        assert_nothing_left(&world, &["pod"]);
    }
}

/// Others' links, in groups too, while ours come and go.
#[test]
fn links_of_others_stay() {
    let suite = Suite::ours();
    for mode in ["", "on"] {
        let world = World::new();
        let containers = containers(&world, 12);
        let network = network(&suite, &world);
        let attached: Vec<_> = containers
            .iter()
            .map(|(id, netns)| network.add(id, netns))
            .collect();
        let host = world.host();
        for (index, group) in [1, 255, 0x4000_0000, 0x7fff_ffff_u32].iter().enumerate() {
            host.ip(&format!(
                "link add vethbad0cafe{index} type veth peer name p{index}"
            ));
            host.ip(&format!(
                "link set vethbad0cafe{index} master tenon0 group {group}"
            ));
            host.ip(&format!("link add br{index} group {group} type bridge"));
        }
        let (go, stay) = attached.split_at(10);
        let calls: Vec<_> = go.iter().map(|one| del(one, mode)).collect();
        for outcome in run_at_once(&calls) {
            outcome.expect_silent_ok();
        }
        for index in 0..4 {
            assert!(
                host.link(&format!("vethbad0cafe{index}")).is_some(),
                "{mode}"
            );
            assert!(host.link(&format!("p{index}")).is_some(), "{mode}");
            assert!(host.link(&format!("br{index}")).is_some(), "{mode}");
        }
        for one in stay {
            one.check_ok();
        }
    }
}

#[test]
fn adds_and_dels_at_once() {
    let suite = Suite::ours();
    for mode in MODES {
        let world = World::new();
        let containers = containers(&world, 60);
        let (come, go) = containers.split_at(50);
        let network = masquerading(&suite, &world);
        let old: Vec<_> = go
            .iter()
            .map(|(id, netns)| network.add(id, netns))
            .collect();
        let adds = come.iter().map(|(id, netns)| {
            let call = network.call_for("ADD", id, netns).env(SWITCH, mode);
            call.timeout(Duration::from_secs(60))
        });
        let calls: Vec<_> = adds.chain(old.iter().map(|one| del(one, mode))).collect();
        for outcome in run_at_once(&calls) {
            outcome.expect_ok();
        }
        for (one, (_, netns)) in old.iter().zip(go) {
            assert_gone(&world, one, netns, mode);
        }
        for (_, netns) in come {
            assert!(netns.ping("10.86.0.1"), "{mode}");
        }
        assert_eq!(world.host().link_names().len(), 2 + come.len());
    }
}

/// At any moment of a DEL its process may be killed, and what it has started may not.
#[test]
fn a_killed_del_is_finished_by_the_next() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let network = masquerading(&suite, &world);
    let mut killed = 0;
    for round in 0..60_u64 {
        let attached = network.add("c1", &c1);
        let call = del(&attached, MODES[usize::from(round % 2 == 0)]);
        let running = call.start();
        let moment = Instant::now() + Duration::from_micros(round * 100);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        drop(running);
        killed += 1;
        if round % 3 == 0 {
            let gc = network.edited(|conf| {
                conf.with(json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}))
            });
            gc.call("GC").run().expect_silent_ok();
        }
        let call = del(&attached, "");
        call.run().expect_silent_ok();
        assert_gone(&world, &attached, &c1, &format!("round {round}"));
        assert_nothing_left(&world, &["c1"]);
    }
    assert_eq!(killed, 60);
}

/// With the help of strace: at its first call, before it has asked for anything, the child is killed,
/// or it cannot be made at all, or it is refused what it needs.
#[test]
fn without_a_child_the_plain_way_is_taken() {
    require("strace");
    let suite = Suite::ours();
    for fault in [
        "setsid:signal=SIGKILL",
        "clone,fork:error=EAGAIN",
        "pipe2:error=EMFILE:when=1",
        "unshare:error=EPERM",
        "close_range:error=ENOSYS",
    ] {
        for mode in ["", "on"] {
            let world = World::new();
            let c1 = world.container("c1");
            let attached = masquerading(&suite, &world).add("c1", &c1);
            let name = fault.split(':').next().unwrap();
            let trace = world.file("trace", "");
            let wrapped = del(&attached, mode).through(&[
                "strace",
                "-f",
                "-o",
                trace.to_str().unwrap(),
                "-e",
                &format!("trace={name}"),
                "-e",
                &format!("inject={fault}"),
            ]);
            wrapped.run().expect_silent_ok();
            let seen = std::fs::read_to_string(&trace).unwrap();
            assert!(
                seen.contains("INJECTED") || seen.contains("SIGKILL"),
                "{fault}: {seen}"
            );
            assert_gone(&world, &attached, &c1, fault);
            assert_nothing_left(&world, &["c1"]);
        }
    }
}

/// The child is killed at some moment or other.
#[test]
fn a_killed_child_is_no_failure() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(&suite, &world);
    let mut killed = 0;
    for round in 0..40_u64 {
        let attached = network.add("c1", &c1);
        let outcome = std::thread::scope(|scope| {
            let call = del(&attached, MODES[usize::from(round % 2 == 0)]);
            let run = scope.spawn(move || call.run());
            while !run.is_finished() {
                if let Some(child) = reaper::left_behind(&suite) {
                    let moment = Instant::now() + Duration::from_micros(round * 50);
                    while Instant::now() < moment {
                        std::hint::spin_loop();
                    }
                    let _ended = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                    killed += 1;
                    break;
                }
            }
            run.join().unwrap()
        });
        outcome.expect_silent_ok();
        assert_gone(&world, &attached, &c1, &format!("round {round}"));
    }
    assert!(killed > 0, "no child was met");
    assert_nothing_left(&world, &["c1"]);
}

/// What a leader may do to those who follow it.
type Leading = fn(&mut UnixStream) -> std::io::Result<()>;

#[test]
fn followers_do_without_a_leader_that_is_lost() {
    let suite = Suite::ours();
    let ways: [(&str, Leading); 4] = [
        ("hangs up", |_line| Ok(())),
        ("hangs up in the middle of a number", |line| {
            line.write_all(&[7])
        }),
        ("hangs up before they have followed", |line| {
            line.write_all(&4711_u32.to_ne_bytes())
        }),
        ("hangs up when they have followed", |line| {
            line.write_all(&4711_u32.to_ne_bytes())?;
            line.read_exact(&mut [0])
        }),
    ];
    for (what, way) in ways {
        let world = World::new();
        let containers = containers(&world, 6);
        let network = network(&suite, &world);
        let attached: Vec<_> = containers
            .iter()
            .map(|(id, netns)| network.add(id, netns))
            .collect();
        let listener = lead();
        let calls: Vec<_> = attached.iter().map(|one| del(one, "")).collect();
        let outcomes = std::thread::scope(|scope| {
            let runs = scope.spawn(|| run_at_once(&calls));
            let (mut line, _) = listener.accept().unwrap();
            way(&mut line).unwrap();
            drop((line, listener));
            runs.join().unwrap()
        });
        for outcome in outcomes {
            outcome.expect_silent_ok();
        }
        for (one, (_, netns)) in attached.iter().zip(&containers) {
            assert_gone(&world, one, netns, what);
        }
        assert_nothing_left(&world, &["pod"]);
    }
}

/// A leader that has stopped keeps nobody for ever; nor does one that nobody of ours is.
#[test]
fn followers_do_without_a_leader_that_says_nothing() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world).add("c1", &c1);
    let _listener = lead();
    let outcome = del(&attached, "").run().expect_silent_ok();
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
    assert_gone(&world, &attached, &c1, "it said nothing");
}

/// A follower's own request puts its link into the group that it is told.
#[test]
fn followers_put_their_link_into_the_group() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world).add("c1", &c1);
    let listener = lead();
    let call = del(&attached, "");
    std::thread::scope(|scope| {
        let run = scope.spawn(move || call.run());
        let (mut line, _) = listener.accept().unwrap();
        line.write_all(&4711_u32.to_ne_bytes()).unwrap();
        line.read_exact(&mut [0]).unwrap();
        let found = world.host().link(attached.host_end()).unwrap();
        assert_eq!(found["group"], "4711");
        // The leader's part.
        world.host().ip("link del group 4711");
        drop((line, listener));
        run.join().unwrap().expect_silent_ok();
    });
    assert_gone(&world, &attached, &c1, "with its leader's");
}

/// A leader's request takes the links along that are in the group that it has told.
#[test]
fn a_leader_deletes_for_its_followers() {
    require("strace");
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world).add("c1", &c1);
    world
        .host()
        .ip("link add follower type veth peer name peer");
    let trace = world.file("trace", "");
    let call = del(&attached, "").through(&[
        "strace",
        "-f",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=listen",
        "-e",
        "inject=listen:delay_exit=500000",
    ]);
    std::thread::scope(|scope| {
        let run = scope.spawn(move || call.run());
        let name = SocketAddr::from_abstract_name(LEADER).unwrap();
        let mut line = None;
        wait_for("a leader", Duration::from_secs(10), || {
            line = UnixStream::connect_addr(&name).ok();
            line.is_some()
        });
        let mut line = line.unwrap();
        let mut group = [0; 4];
        line.read_exact(&mut group).unwrap();
        let group = u32::from_ne_bytes(group);
        world.host().ip(&format!("link set follower group {group}"));
        line.write_all(&[1]).unwrap();
        // It hangs up when it is done.
        assert_eq!(line.read(&mut [0]).unwrap(), 0);
        assert_eq!(world.host().link("follower"), None);
        assert_eq!(world.host().link("peer"), None);
        run.join().unwrap().expect_silent_ok();
    });
    assert_gone(&world, &attached, &c1, "the leader's own");
}

/// An unprivileged user may take the name as well.
#[test]
fn nobody_follows_another_user() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world).add("c1", &c1);
    require("setpriv");
    require("python3");
    let listens = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.bind('\\0' + sys.argv[1]); s.listen(); print(flush=True)\n\
        kept = [s.accept() for _ in range(9)]\n";
    let mut squatter = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--reuid", "65534", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", listens, LEADER])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    squatter
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();
    let outcome = del(&attached, "").run().expect_silent_ok();
    assert!(outcome.elapsed < Duration::from_secs(4), "{outcome}");
    assert_gone(&world, &attached, &c1, "alone");
    squatter.kill().unwrap();
    squatter.wait().unwrap();
}

fn lead() -> UnixListener {
    let name = SocketAddr::from_abstract_name(LEADER).unwrap();
    UnixListener::bind_addr(&name).unwrap()
}

/// What the kernel refuses is told, and the next DEL can do it.
#[test]
fn a_refusal_is_told() {
    let suite = Suite::ours();
    for mode in MODES {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = network(&suite, &world).add("c1", &c1);
        let error = del(&attached, mode)
            .without_capability("net_admin")
            .run()
            .expect_any_error();
        let told = format!("{} {}", error["msg"], error["details"]);
        let expected = format!("failed to delete link {}", attached.host_end());
        assert!(told.contains(&expected), "{mode}: {error}");
        assert!(world.host().link(attached.host_end()).is_some(), "{mode}");
        del(&attached, mode).run().expect_silent_ok();
        assert_gone(&world, &attached, &c1, mode);
    }
}

/// The runtime takes the namespace away without waiting.
#[test]
fn the_namespace_goes_meanwhile() {
    let suite = Suite::ours();
    let world = World::new();
    for round in 0..30_u64 {
        let id = format!("c{round}");
        let netns = world.container(&id);
        let attached = network(&suite, &world).add(&id, &netns);
        let outcome = std::thread::scope(|scope| {
            let call = del(&attached, MODES[usize::from(round % 2 == 0)]);
            let run = scope.spawn(move || call.run());
            let moment = Instant::now() + Duration::from_micros(round * 100);
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            drop(netns);
            run.join().unwrap()
        });
        outcome.expect_silent_ok();
        assert_eq!(
            world.host().link(attached.host_end()),
            None,
            "round {round}"
        );
        assert_nothing_left(&world, &[&id]);
    }
}

/// Without a result there is no address to look for, and a link all the same.
#[test]
fn a_link_of_the_reference_is_deleted_as_well() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for mode in MODES {
        let world = World::new();
        let c1 = world.container("c1");
        let network = network(&reference, &world);
        let attached = network.add("c1", &c1);
        let upgraded = attached.of(&network.through(&ours));
        del(&upgraded, mode).run().expect_silent_ok();
        assert_gone(&world, &attached, &c1, mode);
        let again = upgraded.with_result(Value::Null);
        del(&again, mode).run().expect_silent_ok();
        wait_for("the lease to be released", Duration::from_secs(1), || {
            world
                .snapshot()
                .without("last_reserved_ip")
                .naming(&["c1"])
                .is_empty()
        });
    }
}
