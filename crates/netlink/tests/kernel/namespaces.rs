//! Namespaces and sysctls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use cni_netlink::{CreateVeth, NetNs, Socket, sysctl};
use nix::sched::{CloneFlags, unshare};

use crate::{Pair, end, new_netns};

#[test]
fn entering_a_namespace_leaves_the_caller_where_it_is() {
    let (before, other) = (NetNs::current().unwrap(), new_netns());
    assert!(!before.same_as(&other).unwrap());
    assert!(
        NetNs::open_if_there("/proc/thread-self/ns/net")
            .unwrap()
            .is_some()
    );
    let inside = other.run(|| NetNs::current().unwrap()).unwrap();
    assert!(inside.same_as(&other).unwrap());
    assert_eq!(inside.id().unwrap(), other.id().unwrap());
    let panic = catch_unwind(AssertUnwindSafe(|| other.run(|| panic!("inside"))));
    assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "inside");
    assert!(NetNs::current().unwrap().same_as(&before).unwrap());
}

#[test]
fn a_socket_tells_where_it_was_opened_wherever_it_is_asked() {
    let (home, other) = (NetNs::current().unwrap(), new_netns());
    let here = Socket::open().unwrap();
    let there = other.socket_from(&home).unwrap();
    assert!(NetNs::current().unwrap().same_as(&home).unwrap());
    for ask_from in [&home, &other] {
        let answers = || (here.netns().unwrap(), there.netns().unwrap());
        let (own, others) = ask_from.run_from(&home, answers).unwrap();
        assert!(own.same_as(&home).unwrap());
        assert!(others.same_as(&other).unwrap());
    }
}

#[test]
fn what_is_no_namespace_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [
        &fifo,
        &file,
        dir.path(),
        "/proc".as_ref(),
        "/dev/null".as_ref(),
        std::path::Path::new("/proc/self/ns/uts"),
        std::path::Path::new("/proc/self/status"),
    ] as [&std::path::Path; 7]
    {
        let error = NetNs::open(path).unwrap_err();
        assert!(error.is_not_namespace() && !error.is_gone(), "{error:?}");
        assert!(NetNs::open_if_there(path).unwrap().is_none());
        assert!(
            error
                .to_string()
                .starts_with(&format!("failed to open netns {path:?}"))
        );
    }
    for path in ["/run/netns/no-such-namespace", "/dev/null/x"] {
        let error = NetNs::open(path).unwrap_err();
        assert!(error.is_gone() && !error.is_not_namespace(), "{error:?}");
        assert!(NetNs::open_if_there(path).unwrap().is_none());
        assert_eq!(error.to_string(), format!("failed to open netns {path:?}"));
    }
}

#[test]
fn sysctls_belong_to_the_namespace_and_names_may_have_dots() {
    let pair = Pair::new();
    let wanted = CreateVeth {
        container: end("eth0.100"),
        ..pair.wanted()
    };
    pair.host.create_veth(&wanted).unwrap();
    let file = ["net", "ipv4", "conf", "eth0.100", "proxy_arp"];
    let write = || sysctl::write_if_different(&file, "1");
    let inside = |body: fn() -> _| pair.container_ns.run(body).unwrap();
    assert_eq!(
        pair.container_ns.run(write).unwrap().unwrap().as_deref(),
        Some("0")
    );
    assert_eq!(pair.container_ns.run(write).unwrap().unwrap(), None);
    assert_eq!(
        pair.container_ns
            .run(|| sysctl::read(&file))
            .unwrap()
            .unwrap(),
        "1"
    );
    let error = sysctl::read(&file).unwrap_err();
    assert!(error.is_gone(), "not in this namespace: {error:?}");
    assert_eq!(
        error.to_string(),
        "failed to read /proc/sys/net/ipv4/conf/eth0.100/proxy_arp"
    );
    let error = inside(|| sysctl::write(&["net", "ipv4", "ip_forward"], "x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"failed to write "x" to /proc/sys/net/ipv4/ip_forward"#
    );
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "Invalid argument"
    );
    for bad in ["..", "a/b", "/etc", "", "."] {
        let error = sysctl::read(&["net", bad]).unwrap_err();
        assert_eq!(
            error.io().kind(),
            std::io::ErrorKind::InvalidInput,
            "{bad:?}"
        );
    }
}

#[test]
fn a_read_only_proc_sys_is_named_and_no_obstacle_to_what_is_right() {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        let (from, at) = (Some("/proc/sys"), "/proc/sys");
        mount(from, at, none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(from, at, none, read_only, none).unwrap();
        let file = ["net", "ipv4", "conf", "lo", "proxy_arp"];
        assert_eq!(sysctl::write_if_different(&file, "0").unwrap(), None);
        let error = sysctl::write_if_different(&file, "1").unwrap_err();
        assert!(error.hint().unwrap().contains("read-only"), "{error:?}");
    })
    .join()
    .unwrap();
}
