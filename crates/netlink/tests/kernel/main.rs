//! Against the real kernel, in namespaces made for each test. Needs root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod forwarding;
mod gone;
mod links;
mod localnet;
mod moves;
mod namespaces;
mod qdiscs;
mod requests;
mod routes;
mod waiting;

use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cni_netlink::{
    CreateBridge, CreateVeth, Link, LinkId, NetNs, NetlinkError, Socket, VethEnd, VethPair, set_up,
};
use cni_types::{IfName, IpCidr};
use nix::sched::{CloneFlags, unshare};

/// A new network namespace that lives as long as its descriptor.
fn new_netns() -> NetNs {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make namespaces: run them as root"
    );
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        NetNs::current().unwrap()
    })
    .join()
    .unwrap()
}

/// Two namespaces with a socket in each.
struct Pair {
    host_ns: NetNs,
    container_ns: NetNs,
    host: Socket,
    container: Socket,
}

impl Pair {
    fn new() -> Self {
        let (host_ns, container_ns) = (new_netns(), new_netns());
        let (host, container) = (host_ns.socket().unwrap(), container_ns.run(Socket::open));
        Self {
            host_ns,
            container_ns,
            host,
            // Opened by a thread inside: the socket must know its namespace all the same.
            container: container.unwrap().unwrap(),
        }
    }

    /// A veth pair across the two, both ends up.
    fn veth(&self) -> VethPair {
        let made = self.host.create_veth(&self.wanted()).unwrap();
        self.container.request(&set_up(&made.container)).unwrap();
        made
    }

    fn wanted(&self) -> CreateVeth {
        CreateVeth {
            host: end("veth0"),
            host_up: true,
            queues: None,
            container: end("eth0"),
            netns: Some(self.container_ns.clone()),
            mtu: None,
            master: None,
            group: None,
        }
    }
}

fn end(name: &str) -> VethEnd {
    VethEnd {
        name: ifname(name),
        mac: None,
    }
}

fn ifname(name: &str) -> IfName {
    name.parse().unwrap()
}

fn cidr(text: &str) -> IpCidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn bridge(socket: &Socket, name: &str) -> LinkId {
    let wanted = CreateBridge {
        name: ifname(name),
        mac: None,
        mtu: None,
        vlan_filtering: false,
        up: true,
    };
    socket.create_bridge(&wanted).unwrap()
}

fn get(socket: &Socket, link: &LinkId) -> Link {
    socket.find_link_by_index(link.index).unwrap().unwrap()
}

/// What `ip` of iproute2 prints in a namespace, for a second opinion.
fn ip_tool(ns: &NetNs, args: &str) -> String {
    let output = ns
        .run(|| Command::new("ip").args(args.split(' ')).output().unwrap())
        .unwrap();
    assert!(output.status.success(), "ip {args}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The kernel's words.
fn words(error: &NetlinkError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}
