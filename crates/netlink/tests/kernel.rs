//! Against the real kernel, in namespaces made for each test. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cni_netlink::{
    Cause, Change, CreateBridge, CreateLink, CreateVeth, Dad, Ipv4Conf, Link, LinkId, LinkKind,
    MAIN_TABLE, NetNs, NetlinkError, Op, OperState, Route, RouteFilter, SCOPE_LINK, Socket,
    VethEnd, VethPair, add_address, delete_address, delete_link, random_mac, set_alias, set_down,
    set_ipv4_conf, set_mac, set_master, set_mtu, set_port, set_promiscuous, set_up, sysctl,
};
use cni_types::{IfName, IpCidr, MacAddr};
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
        let (host, container) = (host_ns.socket().unwrap(), container_ns.socket().unwrap());
        Self {
            host_ns,
            container_ns,
            host,
            container,
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
            container: end("eth0"),
            netns: Some(self.container_ns.clone()),
            mtu: None,
            master: None,
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

#[test]
fn one_request_makes_a_pair_across_namespaces() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let (host_mac, container_mac) = (random_mac().unwrap(), random_mac().unwrap());
    let mut wanted = pair.wanted();
    wanted.host.mac = Some(host_mac);
    wanted.container.mac = Some(container_mac);
    wanted.mtu = Some(1400);
    wanted.master = Some(br0.index);

    let made = pair.host.create_veth(&wanted).unwrap();

    let host = get(&pair.host, &made.host);
    assert_eq!(host.name, "veth0");
    assert_eq!((host.mac, host.mtu), (Some(host_mac), 1400));
    assert!(host.is_up() && host.is_kind("veth"));
    assert_eq!(host.master, Some(br0.index));
    assert_eq!(host.peer, Some(made.container.index));
    assert!(host.peer_netns.is_some());

    let container = get(&pair.container, &made.container);
    assert_eq!(container.name, "eth0");
    assert_eq!((container.mac, container.mtu), (Some(container_mac), 1400));
    assert!(!container.is_up());
    assert_eq!(container.peer, Some(made.host.index));
    let ports = pair.host.bridge_ports(&br0).unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].index, made.host.index);

    pair.container.request(&set_up(&made.container)).unwrap();
    let up = pair.host.wait_operstate_up(&made.host, soon()).unwrap();
    assert_eq!(up.port.unwrap().state, 3, "forwarding");
}

#[test]
fn a_taken_name_on_either_side_makes_neither_end() {
    let pair = Pair::new();
    let made = pair.veth();
    for (host, container) in [("veth0", "eth1"), ("veth1", "eth0")] {
        let wanted = CreateVeth {
            host: end(host),
            container: end(container),
            ..pair.wanted()
        };
        let error = pair.host.create_veth(&wanted).unwrap_err();
        assert!(error.is_exists(), "{error:?}");
        assert_eq!(error.op, Op::CreateVeth);
        assert!(error.hint().is_some());
    }
    assert_eq!(pair.host.find_link(&ifname("veth1")).unwrap(), None);
    assert_eq!(pair.container.find_link(&ifname("eth1")).unwrap(), None);

    pair.host.request(&delete_link(&made.host)).unwrap();
    assert_eq!(pair.container.find_link(&ifname("eth0")).unwrap(), None);
    let error = pair.host.request(&delete_link(&made.host)).unwrap_err();
    assert!(error.is_gone());
    assert_eq!(error.to_string(), "failed to delete link veth0");
    assert_eq!(words(&error), "No such device");
}

#[test]
fn a_pair_in_one_namespace() {
    let pair = Pair::new();
    let wanted = CreateVeth {
        netns: None,
        ..pair.wanted()
    };
    let made = pair.host.create_veth(&wanted).unwrap();
    assert_eq!(get(&pair.host, &made.container).name, "eth0");
    assert_eq!(get(&pair.host, &made.host).peer_netns, None);
}

#[test]
fn what_is_set_on_a_link_is_there() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let veth = pair.veth().host;
    let mac: MacAddr = "02:00:5e:00:53:01".parse().unwrap();
    pair.host
        .send_all(&[
            set_down(&veth),
            set_mac(&veth, mac),
            set_mtu(&veth, 1300),
            set_alias(&veth, "tenon: net/c1/eth0"),
            set_promiscuous(&veth, true),
            set_master(&veth, Some(br0.index)),
            set_port(&veth, Some(true), Some(true)),
        ])
        .unwrap();
    let link = get(&pair.host, &veth);
    assert!(!link.is_up() && link.is_promiscuous());
    assert_eq!((link.mac, link.mtu), (Some(mac), 1300));
    assert_eq!(link.alias.as_deref(), Some("tenon: net/c1/eth0"));
    let shown = ip_tool(&pair.host_ns, "-j link show veth0");
    assert!(
        shown.contains(r#""ifalias":"tenon: net/c1/eth0""#),
        "{shown}"
    );
    let flags = link.port.unwrap().flags;
    assert!(flags.hairpin && flags.isolated);

    pair.host
        .send_all(&[
            set_up(&veth),
            set_port(&veth, Some(false), None),
            set_promiscuous(&veth, false),
            set_alias(&veth, ""),
        ])
        .unwrap();
    let link = get(&pair.host, &veth);
    assert!(link.is_up() && !link.is_promiscuous());
    assert_eq!(link.alias, None);
    let flags = link.port.unwrap().flags;
    assert!(!flags.hairpin, "was taken away");
    assert!(flags.isolated, "was left as it is");

    pair.host.request(&set_master(&veth, None)).unwrap();
    let link = get(&pair.host, &veth);
    assert_eq!((link.master, link.port), (None, None));
}

#[test]
fn bridges_have_what_they_were_made_with() {
    let pair = Pair::new();
    let mac = random_mac().unwrap();
    let wanted = CreateBridge {
        name: ifname("br.0"),
        mac: Some(mac),
        mtu: Some(1450),
        vlan_filtering: false,
        up: true,
    };
    let made = pair.host.create_bridge(&wanted).unwrap();
    let link = get(&pair.host, &made);
    assert!(link.is_up() && link.is_kind("bridge"));
    assert_eq!((link.mac, link.mtu), (Some(mac), 1450));
    assert!(!link.bridge.unwrap().vlan_filtering);
    assert!(pair.host.create_bridge(&wanted).unwrap_err().is_exists());
    let names: Vec<String> = pair
        .host
        .links()
        .unwrap()
        .into_iter()
        .map(|l| l.name)
        .collect();
    assert_eq!(names, ["lo", "br.0"]);
}

#[test]
fn what_the_kernel_lacks_is_said_in_its_own_words() {
    let socket = new_netns().socket().unwrap();
    let dummy = CreateLink {
        name: ifname("dummy0"),
        kind: LinkKind::Dummy,
        mac: None,
        mtu: None,
        up: false,
    };
    match socket.create_link(&dummy) {
        Ok(made) => assert!(get(&socket, &made).is_kind("dummy")),
        Err(error) => {
            assert_eq!(
                error.to_string(),
                "failed to create link dummy0 of kind dummy"
            );
            assert_eq!(
                words(&error),
                "Operation not supported: Unknown device type"
            );
            assert!(error.hint().unwrap().contains("no support"));
            assert_eq!(socket.find_link(&dummy.name).unwrap(), None);
        }
    }
    let filtering = CreateBridge {
        name: ifname("br0"),
        mac: None,
        mtu: None,
        vlan_filtering: true,
        up: false,
    };
    match socket.create_bridge(&filtering) {
        Ok(made) => assert!(get(&socket, &made).bridge.unwrap().vlan_filtering),
        Err(error) => {
            assert_eq!(error.errno(), Some(nix::errno::Errno::EOPNOTSUPP));
            assert!(
                error
                    .hint()
                    .unwrap()
                    .contains("CONFIG_BRIDGE_VLAN_FILTERING")
            );
            assert_eq!(socket.find_link(&filtering.name).unwrap(), None);
        }
    }
}

#[test]
fn extended_acknowledgements_reach_the_error() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let route = Route::new(cidr("10.9.0.0/16"), Some(ip("10.200.0.1")), eth0.index);
    let error = pair.container.request(&route.add()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to add route 10.9.0.0/16 via 10.200.0.1 oif {}",
            eth0.index
        )
    );
    assert_eq!(
        words(&error),
        "Network is unreachable: Nexthop has invalid gateway"
    );
    assert!(error.hint().unwrap().contains("not reachable"));
}

#[test]
fn addresses_come_and_go() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let (v4, narrow, v6) = (cidr("10.1.2.3/24"), cidr("10.1.9.0/31"), cidr("fd00::3/64"));
    let adds = [v4, narrow, v6].map(|one| add_address(&eth0, one, Dad::Skip));
    pair.container.send_all(&adds).unwrap();

    let all = pair.container.addresses(Some(&eth0)).unwrap();
    let find = |cidr| all.iter().find(|one| one.cidr == cidr).unwrap();
    assert_eq!(find(v4).broadcast, Some(ip("10.1.2.255")));
    assert_eq!(find(v4).label.as_deref(), Some("eth0"));
    assert_eq!(find(narrow).broadcast, None);
    let six = find(v6);
    assert!(six.is_permanent() && !six.is_tentative() && !six.is_link_scope());
    assert!(all.iter().all(|one| one.index == eth0.index));

    let error = pair.container.request(&adds[0]).unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        error.to_string(),
        "failed to add address 10.1.2.3/24 dev eth0"
    );
    pair.container.request(&delete_address(&eth0, v4)).unwrap();
    let again = pair.container.request(&delete_address(&eth0, v4));
    assert!(again.unwrap_err().is_gone());
    let left = pair.container.addresses(None).unwrap();
    assert!(left.iter().all(|one| one.cidr != v4));

    let nobody = LinkId::new(4711, "gone0");
    assert_eq!(pair.container.addresses(Some(&nobody)).unwrap(), []);
}

#[test]
fn an_ipv6_address_on_a_link_without_ipv6_gets_a_hint() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    pair.container_ns
        .run(|| sysctl::write(&["net", "ipv6", "conf", "eth0", "disable_ipv6"], "1"))
        .unwrap()
        .unwrap();
    let add = add_address(&eth0, cidr("fd00::1/64"), Dad::Skip);
    let error = pair.container.request(&add).unwrap_err();
    assert!(error.hint().unwrap().contains("disable_ipv6"), "{error:?}");
}

fn filter(ipv6: bool, table: u32, oif: Option<u32>) -> RouteFilter {
    RouteFilter { ipv6, table, oif }
}

#[test]
fn routes_come_and_go() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let add = [cidr("10.1.0.2/24"), cidr("fd00::2/64")].map(|c| add_address(&eth0, c, Dad::Skip));
    pair.container.send_all(&add).unwrap();
    let default = Route::new(
        IpCidr::default_route(false),
        Some(ip("10.1.0.1")),
        eth0.index,
    );
    let full = Route {
        mtu: Some(1300),
        advmss: Some(1200),
        priority: Some(50),
        table: 1000,
        source: Some(ip("10.1.0.2")),
        ..Route::new(cidr("10.7.8.9/16"), Some(ip("10.1.0.1")), eth0.index)
    };
    let onlink = Route {
        onlink: true,
        ..Route::new(cidr("10.6.0.0/16"), Some(ip("192.168.7.1")), eth0.index)
    };
    let six = Route::new(IpCidr::default_route(true), Some(ip("fd00::1")), eth0.index);
    let straight = Route::new(cidr("10.5.0.0/16"), None, eth0.index);
    let routes = [&default, &full, &onlink, &six, &straight];
    pair.container.send_all(&routes.map(Route::add)).unwrap();

    let list = |ipv6, table| {
        pair.container
            .routes(filter(ipv6, table, Some(eth0.index)))
            .unwrap()
    };
    let main = list(false, MAIN_TABLE);
    assert!(main.contains(&default) && main.contains(&onlink) && main.contains(&straight));
    assert_eq!(straight.scope, SCOPE_LINK);
    assert_eq!(
        list(false, 1000),
        [Route {
            dst: cidr("10.7.0.0/16"),
            ..full.clone()
        }]
    );
    let found = list(true, MAIN_TABLE);
    let found = found.iter().find(|one| one.dst.prefix() == 0).unwrap();
    assert_eq!((found.gateway, found.oif), (six.gateway, six.oif));
    assert_eq!(list(false, 77), [], "no such table");
    assert_eq!(
        pair.container
            .routes(filter(false, MAIN_TABLE, Some(1)))
            .unwrap(),
        []
    );

    assert!(
        pair.container
            .request(&default.add())
            .unwrap_err()
            .is_exists()
    );
    pair.container.send_all(&routes.map(Route::delete)).unwrap();
    assert!(
        pair.container
            .request(&default.delete())
            .unwrap_err()
            .is_gone()
    );
    assert_eq!(list(false, 1000), []);
}

#[test]
fn a_second_way_to_the_same_destination_joins_the_first() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    for (address, dst, gateways) in [
        (
            "10.1.0.2/24",
            IpCidr::default_route(false),
            ["10.1.0.1", "10.1.0.9"],
        ),
        (
            "fd00::2/64",
            IpCidr::default_route(true),
            ["fd00::1", "fd00::9"],
        ),
    ] {
        let add = add_address(&eth0, cidr(address), Dad::Skip);
        let ways = gateways.map(|gateway| Route::new(dst, Some(ip(gateway)), eth0.index).add());
        pair.container.request(&add).unwrap();
        pair.container.send_all(&ways).unwrap();
        let listed = pair
            .container
            .routes(filter(dst.is_ipv6(), MAIN_TABLE, None))
            .unwrap();
        let mut seen: Vec<IpAddr> = listed
            .iter()
            .filter(|one| one.dst == dst)
            .filter_map(|one| one.gateway)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, gateways.map(ip));
    }
}

#[test]
fn a_batch_goes_on_behind_a_failure_and_says_so() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let changes = [
        add_address(&eth0, cidr("10.1.0.1/24"), Dad::Skip),
        add_address(&eth0, cidr("10.1.0.1/24"), Dad::Skip),
        add_address(&eth0, cidr("10.1.0.2/24"), Dad::Skip),
    ];
    let error = pair.container.send_all(&changes).unwrap_err();
    assert_eq!(error.index, 1);
    assert_eq!(error.done, [true, false, true]);
    assert!(error.error.is_exists());
    assert_eq!(
        error.to_string(),
        "failed to add address 10.1.0.1/24 dev eth0"
    );
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        words(&error.error)
    );
    assert_eq!(changes[2].to_string(), "add address 10.1.0.2/24 dev eth0");
    assert!(pair.container.send_each(&[]).is_empty());
}

#[test]
fn many_requests_get_all_their_acknowledgements() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let adds: Vec<Change> = (0..2000)
        .map(|n| {
            add_address(
                &eth0,
                cidr(&format!("10.1.{}.{}/16", n / 250, n % 250 + 1)),
                Dad::Skip,
            )
        })
        .collect();
    pair.container.send_all(&adds).unwrap();
    let v4 = |socket: &Socket| {
        let all = socket.addresses(Some(&eth0)).unwrap();
        all.iter().filter(|one| !one.cidr.is_ipv6()).count()
    };
    assert_eq!(v4(&pair.container), 2000);
}

#[test]
fn a_dump_is_whole_while_links_come_and_go() {
    let pair = Pair::new();
    let steady: Vec<LinkId> = (0..60)
        .map(|n| bridge(&pair.host, &format!("steady{n}")))
        .collect();
    let stop = AtomicBool::new(false);
    let noisy = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let noisy = noisy;
            while !stop.load(Ordering::Relaxed) {
                let made = bridge(&noisy, "noise");
                noisy.request(&delete_link(&made)).unwrap();
            }
        });
        let mut whole = 0;
        for _ in 0..40 {
            match pair.host.links() {
                Ok(links) => {
                    assert!(
                        steady
                            .iter()
                            .all(|one| links.iter().any(|link| link.id() == *one))
                    );
                    whole += 1;
                }
                Err(error) => assert!(matches!(error.cause, Cause::Interrupted), "{error:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(whole > 0);
    });
    assert_eq!(
        pair.host.links().unwrap().len(),
        61,
        "the socket is still in step"
    );
}

#[test]
fn waiting_ends_when_the_link_can_carry_packets() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let link = pair.host.wait_operstate_up(&veth, soon()).unwrap();
    assert_eq!(link.operstate, OperState::Up);
    let other = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let other = other;
            for _ in 0..10 {
                other.request(&set_down(&veth)).unwrap();
                other.request(&set_up(&veth)).unwrap();
            }
        });
        for _ in 0..10 {
            pair.host.wait_operstate_up(&veth, soon()).unwrap();
        }
        changes.join().unwrap();
    });
    pair.host.wait_operstate_up(&veth, soon()).unwrap();
}

#[test]
fn waiting_is_woken_by_the_event_it_waits_for() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    pair.host.request(&set_down(&veth)).unwrap();
    let other = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        let started = Instant::now();
        let looks = std::cell::Cell::new(0);
        let other = std::cell::Cell::new(Some(other));
        pair.host
            .wait_link(&veth, soon(), |link| {
                looks.set(looks.get() + 1);
                // The second look comes after the subscription: only an event wakes it from here.
                if looks.get() == 2
                    && let Some(other) = other.take()
                {
                    let veth = &veth;
                    scope.spawn(move || other.request(&set_up(veth)).unwrap());
                }
                link.is_up()
            })
            .unwrap();
        assert!(looks.get() >= 3);
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn waiting_ends_at_the_deadline_or_with_the_link() {
    let pair = Pair::new();
    let made = pair.veth();
    pair.container.request(&set_down(&made.container)).unwrap();
    pair.host
        .wait_link(&made.host, soon(), |now| now.operstate != OperState::Up)
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = pair
        .host
        .wait_operstate_up(&made.host, deadline)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout), "{error:?}");
    assert!(Instant::now() >= deadline && error.is_busy());
    assert_eq!(error.to_string(), "failed to wait for link veth0");

    let error = pair.host.wait_gone(&made.host, Instant::now()).unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout));
    pair.host.request(&delete_link(&made.host)).unwrap();
    pair.host.wait_gone(&made.host, soon()).unwrap();
    assert!(
        pair.host
            .wait_operstate_up(&made.host, soon())
            .unwrap_err()
            .is_gone()
    );
}

#[test]
fn duplicate_address_detection_is_waited_for_and_believed() {
    let pair = Pair::new();
    let made = pair.veth();
    let (free, taken) = (cidr("fd00::2/64"), cidr("fd00::1/64"));
    pair.host
        .request(&add_address(&made.host, taken, Dad::Skip))
        .unwrap();
    pair.container
        .request(&add_address(&made.container, free, Dad::Perform))
        .unwrap();
    let before = pair.container.addresses(Some(&made.container)).unwrap();
    assert!(before.iter().any(|one| one.is_tentative()));
    let after = pair
        .container
        .wait_dad_done(&made.container, soon())
        .unwrap();
    assert!(after.iter().any(|one| one.cidr == free));

    pair.container
        .request(&add_address(&made.container, taken, Dad::Perform))
        .unwrap();
    let error = pair
        .container
        .wait_dad_done(&made.container, soon())
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Duplicate), "{error:?}");
    assert_eq!(
        error.to_string(),
        "failed to wait for address fd00::1/64 dev eth0"
    );
}

#[test]
fn an_announcement_replaces_what_the_neighbours_remember() {
    let pair = Pair::new();
    let made = pair.veth();
    let addresses = [("10.1.0.1/24", "10.1.0.2/24"), ("fd00::1/64", "fd00::2/64")];
    for (host, container) in addresses {
        pair.host
            .request(&add_address(&made.host, cidr(host), Dad::Skip))
            .unwrap();
        pair.container
            .request(&add_address(&made.container, cidr(container), Dad::Skip))
            .unwrap();
    }
    let mac = get(&pair.container, &made.container)
        .mac
        .unwrap()
        .to_string();
    for arp_notify in ["0", "1"] {
        let setting = ["net", "ipv4", "conf", "eth0", "arp_notify"];
        pair.container_ns
            .run(|| sysctl::write(&setting, arp_notify))
            .unwrap()
            .unwrap();
        for (_, container) in addresses {
            let ip = cidr(container).addr();
            let stale = "lladdr 02:00:00:00:00:99 dev veth0 nud stale";
            ip_tool(&pair.host_ns, &format!("neigh replace {ip} {stale}"));
        }
        let ips = addresses.map(|(_, container)| cidr(container).addr());
        pair.container.announce(&made.container, &ips).unwrap();
        for ip in ips {
            let deadline = soon();
            while !ip_tool(&pair.host_ns, &format!("neigh show {ip}")).contains(&mac) {
                assert!(Instant::now() < deadline, "{ip} was not announced");
            }
        }
        let after = pair
            .container_ns
            .run(|| sysctl::read(&setting))
            .unwrap()
            .unwrap();
        assert_eq!(after, arp_notify, "left as it was");
    }
}

#[test]
fn ipv4_settings_of_a_link_are_set_by_number() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    for (conf, file) in [
        (Ipv4Conf::Forwarding, "forwarding"),
        (Ipv4Conf::ProxyArp, "proxy_arp"),
        (Ipv4Conf::RpFilter, "rp_filter"),
        (Ipv4Conf::ArpIgnore, "arp_ignore"),
        (Ipv4Conf::ArpNotify, "arp_notify"),
        (Ipv4Conf::RouteLocalnet, "route_localnet"),
    ] {
        for value in [1, 0] {
            pair.container
                .request(&set_ipv4_conf(&eth0, &[(conf, value)]))
                .unwrap();
            let read = || sysctl::read(&["net", "ipv4", "conf", "eth0", file]);
            let seen = pair.container_ns.run(read).unwrap().unwrap();
            assert_eq!(seen, value.to_string(), "{file}");
        }
    }
}

#[test]
fn entering_a_namespace_leaves_the_caller_where_it_is() {
    let (before, other) = (NetNs::current().unwrap(), new_netns());
    assert!(!before.same_as(&other).unwrap());
    let inside = other.run(|| NetNs::current().unwrap()).unwrap();
    assert!(inside.same_as(&other).unwrap());
    assert_eq!(inside.id().unwrap(), other.id().unwrap());
    let panic = catch_unwind(AssertUnwindSafe(|| other.run(|| panic!("inside"))));
    assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "inside");
    assert!(NetNs::current().unwrap().same_as(&before).unwrap());
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
    ] as [&std::path::Path; 5]
    {
        let error = NetNs::open(path).unwrap_err();
        assert!(error.is_not_namespace() && !error.is_gone(), "{error:?}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("failed to open netns {path:?}"))
        );
    }
    for path in ["/run/netns/no-such-namespace", "/dev/null/x"] {
        let error = NetNs::open(path).unwrap_err();
        assert!(error.is_gone() && !error.is_not_namespace(), "{error:?}");
        assert_eq!(error.to_string(), format!("failed to open netns {path:?}"));
    }
    // Another kind of namespace opens, and setns refuses it.
    let error = NetNs::open("/proc/self/ns/uts")
        .unwrap()
        .socket()
        .unwrap_err();
    assert!(
        error.to_string().starts_with("failed to enter netns"),
        "{error}"
    );
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

/// Runs this test again inside a namespace, as root without any capability.
#[test]
fn without_privilege_the_error_says_what_is_needed() {
    const INSIDE: &str = "CNI_NETLINK_TEST_WITHOUT_CAPABILITIES";
    const NAME: &str = "without_privilege_the_error_says_what_is_needed";
    if std::env::var_os(INSIDE).is_none() {
        let again = || {
            Command::new("setpriv")
                .arg("--bounding-set=-all")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", NAME])
                .env(INSIDE, "1")
                .output()
                .unwrap()
        };
        let output = new_netns().run(again).unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let lo = LinkId::new(1, "lo");
    let error = Socket::open().unwrap().request(&set_up(&lo)).unwrap_err();
    assert_eq!(error.to_string(), "failed to set up link lo");
    assert_eq!(words(&error), "Operation not permitted");
    assert!(error.hint().unwrap().contains("CAP_NET_ADMIN"));
    let error = NetNs::current().unwrap().socket().unwrap_err();
    assert!(
        error.to_string().starts_with("failed to enter netns"),
        "{error}"
    );
}
