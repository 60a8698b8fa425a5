//! The packet filter's sockets, which take long to close where anything has been deleted: one process keeps
//! them until that is over, and nobody else waits.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use cni_testkit::{Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::conflist::Attachment;
use tenon_tests::{filter_sockets, reaper};

/// Where the one that keeps them is met.
const KEEPER: &str = "tenon nf_tables";

/// How long one may take to end, on a busy machine.
const END: Duration = Duration::from_secs(60);

fn name() -> SocketAddr {
    SocketAddr::from_abstract_name(KEEPER).unwrap()
}

fn list(world: &World) -> Value {
    let bridge = conf::bridge("1.1.0")
        .ipam(conf::host_local(world, &["10.86.0.0/16"]))
        .with(json!({"ipMasq": true}));
    let portmap = json!({"backend": "nftables", "capabilities": {"portMappings": true}});
    let firewall = json!({"backend": "nftables"});
    let mut list = conf::list(
        "1.1.0",
        &[
            bridge,
            conf::plugin("1.1.0", "portmap").with(portmap),
            conf::plugin("1.1.0", "firewall").with(firewall),
        ],
    );
    list["name"] = json!("pods");
    list
}

fn published(attachment: Attachment<'_>) -> Attachment<'_> {
    let mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
    attachment.capabilities(json!({"portMappings": [mapping]}))
}

/// What is handed over stays open even before the keeper has looked.
#[test]
fn whoever_has_spoken_to_the_packet_filter_hands_over_its_socket() {
    let (world, suite) = (World::new(), Suite::ours());
    let (list, c1) = (list(&world), world.container("c1"));
    let pod = published(Attachment::new(&suite, &list, "c1", &c1));
    let keeper = UnixListener::bind_addr(&name()).unwrap();
    let mut kept = 0;
    let mut more_than_before = |what: &str| {
        let now = filter_sockets::count();
        assert!(now >= kept + 3, "{what}: {now} sockets after {kept}");
        kept = now;
    };
    let result = pod.add();
    more_than_before("ADD");
    pod.check(&result);
    more_than_before("CHECK");
    pod.del(&result);
    more_than_before("DEL");
    drop(keeper);
    wait_for("their end", END, || filter_sockets::count() == 0);
}

#[test]
fn a_del_keeps_the_sockets_of_others_and_ends_when_all_is_quiet() {
    let (world, suite) = (World::new(), Suite::ours());
    let (list, c1) = (list(&world), world.container("c1"));
    let pod = published(Attachment::new(&suite, &list, "c1", &c1));
    // It may have ended before anybody looks.
    let is_met = || {
        let result = pod.add();
        pod.del(&result);
        let keeper = reaper::left_behind(&suite)?;
        let works_in = std::fs::read_link(format!("/proc/{keeper}/cwd")).ok()?;
        UnixStream::connect_addr(&name()).ok().map(|_line| works_in)
    };
    let works_in = (0..50).find_map(|_time| is_met());
    assert_eq!(works_in.as_deref(), Some(Path::new("/")));
    wait_for("its end", END, || UnixListener::bind_addr(&name()).is_ok());
    wait_for("their end", END, || filter_sockets::count() == 0);
}
