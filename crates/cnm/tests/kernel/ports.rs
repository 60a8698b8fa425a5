//! Published ports.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use cni_cnm::NetworkDriver as _;
use cni_cnm::wire::network::{PortBinding, ProgramRequest};
use cni_cnm::wire::{Options, label};
use cni_testkit::Netns;
use cni_types::{ErrorCode, Json};

use crate::support::{BRIDGE_NAME, Machine, Wanted, chain, dual, endpoint, failure, id, soon};
use crate::traffic::outside;

const SHORTLY: Duration = Duration::from_millis(300);
const LOCALNET: &str = "net/ipv4/conf/br-111111111111/route_localnet";

/// TCP 8080 and UDP 5353 of the host lead to 80 and 53 of the container.
fn both() -> Vec<PortBinding> {
    vec![tcp("", 8080), udp("", 5353)]
}

fn tcp(host_ip: &str, host_port: u16) -> PortBinding {
    PortBinding {
        proto: 6,
        port: 80,
        host_ip: host_ip.into(),
        host_port,
        ..PortBinding::default()
    }
}

fn udp(host_ip: &str, host_port: u16) -> PortBinding {
    PortBinding {
        proto: 17,
        port: 53,
        ..tcp(host_ip, host_port)
    }
}

fn options(bindings: &[PortBinding]) -> Options {
    let text = serde_json::to_vec(bindings).unwrap();
    [(label::PORT_MAP.to_owned(), Json::parse(&text).unwrap())].into()
}

impl Machine {
    fn try_publish(
        &self,
        endpoint_id: &str,
        bindings: &[PortBinding],
    ) -> Result<(), cni_cnm::DriverError> {
        let request = ProgramRequest {
            network_id: id('1'),
            endpoint_id: endpoint_id.to_owned(),
            options: options(bindings),
        };
        self.driver.program_external_connectivity(&request, soon())
    }

    fn publish(&self, endpoint_id: &str, bindings: &[PortBinding]) {
        let published = self.try_publish(endpoint_id, bindings);
        published.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    fn withdraw(&self, endpoint_id: &str) {
        let request = endpoint(&id('1'), endpoint_id);
        let withdrawn = self.driver.revoke_external_connectivity(&request, soon());
        withdrawn.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A sandbox on the network, with somebody who answers at TCP 80 and UDP 53.
    fn serve(&self, wanted: &Wanted, host: u8, sandbox: &Netns) -> (String, Server) {
        let endpoint_id = self.attach(wanted, host, sandbox);
        (endpoint_id, Server::start(sandbox))
    }
}

/// Who answers in a container.
struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    fn start(sandbox: &Netns) -> Self {
        let tcp = sandbox.run(|| TcpListener::bind("[::]:80").unwrap());
        let udp = sandbox.run(|| UdpSocket::bind("[::]:53").unwrap());
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(SHORTLY)).unwrap();
        Self { tcp, udp }
    }

    /// Whether a connection from there arrives here. Links that have just been made lose some.
    fn tcp_from(&self, from: &Netns, to: &str) -> bool {
        (0..20).any(|_attempt| self.try_tcp(from, to))
    }

    /// Whether a datagram from there arrives here, and the answer there.
    fn udp_from(&self, from: &Netns, to: &str) -> bool {
        (0..20).any(|_attempt| self.try_udp(from, to))
    }

    fn try_tcp(&self, from: &Netns, to: &str) -> bool {
        let to: SocketAddr = to.parse().unwrap();
        let connected = from.run(|| TcpStream::connect_timeout(&to, SHORTLY));
        connected.is_ok() && self.tcp.accept().is_ok()
    }

    fn try_udp(&self, from: &Netns, to: &str) -> bool {
        let any = if to.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let client = from.run(|| {
            let client = UdpSocket::bind(any).unwrap();
            client.connect(to).unwrap();
            client.send(b"?").map(|_sent| client)
        });
        let Ok(client) = client else {
            return false;
        };
        let mut buffer = [0; 4];
        let Ok((_length, peer)) = self.udp.recv_from(&mut buffer) else {
            return false;
        };
        self.udp.send_to(b"!", peer).unwrap();
        client.set_read_timeout(Some(SHORTLY)).unwrap();
        client
            .recv(&mut buffer)
            .is_ok_and(|length| buffer[..length] == *b"!")
    }
}

#[test]
fn published_ports_lead_to_the_endpoint_from_everywhere() {
    let machine = Machine::new();
    let outside = outside(&machine);
    machine.create(&dual());
    let [c1, c2] = ["c1", "c2"].map(|name| machine.world.container(name));
    machine.attach(&dual(), 3, &c2);
    let before = machine.snapshot();
    let (e2, server) = machine.serve(&dual(), 2, &c1);
    assert!(!server.try_tcp(&outside, "192.0.2.1:8080"));
    for _twice in 0..2 {
        machine.publish(&e2, &both());
    }
    assert_eq!(machine.check(&id('1'), &e2), "");
    let host = machine.host();
    for (from, address) in [
        (&outside, "192.0.2.1"),
        (&outside, "[2001:db8::1]"),
        (host, "192.0.2.1"),
        (host, "[2001:db8::1]"),
        (host, "127.0.0.1"),
        (&c2, "192.0.2.1"),
        (&c2, "10.77.0.1"),
        (&c2, "[2001:db8::1]"),
        (&c1, "192.0.2.1"),
    ] {
        let name = from.path().display();
        assert!(
            server.tcp_from(from, &format!("{address}:8080")),
            "TCP {name} {address}"
        );
        assert!(
            server.udp_from(from, &format!("{address}:5353")),
            "UDP {name} {address}"
        );
    }
    assert!(!server.try_tcp(&outside, "192.0.2.1:8081"));
    let call = "net/bridge/bridge-nf-call-iptables";
    if std::path::Path::new("/proc/sys").join(call).exists() {
        for value in ["0", "1"] {
            host.set_sysctl(call, value);
            for from in [&c1, &c2] {
                assert!(server.tcp_from(from, "192.0.2.1:8080"), "{call}={value}");
            }
        }
    }
    for _twice in 0..2 {
        machine.withdraw(&e2);
    }
    for from in [&outside, host] {
        assert!(!server.try_tcp(from, "192.0.2.1:8080"));
        assert!(!server.try_udp(from, "192.0.2.1:5353"));
    }
    assert_eq!(host.sysctl(LOCALNET), "0");
    assert_eq!(machine.check(&id('1'), &e2), "");
    machine.leave(&id('1'), &e2);
    // That the bridge's switch was on once stays remembered.
    let memory = format!("{}.json", id('1'));
    before
        .without(&memory)
        .assert_unchanged(&machine.snapshot().without(&memory));
}

#[test]
fn ports_go_with_their_endpoint() {
    let machine = Machine::new();
    let before = machine.snapshot();
    let c1 = machine.world.container("c1");
    machine.create(&dual());
    for remembered in [true, false] {
        let e2 = machine.attach(&dual(), 2, &c1);
        machine.publish(&e2, &both());
        assert_eq!(machine.host().sysctl(LOCALNET), "1");
        if !remembered {
            let memory = machine
                .world
                .dir()
                .join(format!("bridge/{}/{e2}.json", id('1')));
            std::fs::remove_file(memory).unwrap();
        }
        let request = endpoint(&id('1'), &e2);
        machine.driver.delete_endpoint(&request, soon()).unwrap();
        let ruleset = machine.host().command("nft", &["list", "ruleset"]);
        assert_eq!(ruleset, "");
        assert_eq!(machine.host().sysctl(LOCALNET), "0");
    }
    let e2 = machine.attach(&dual(), 2, &c1);
    machine.publish(&e2, &both());
    machine.delete(&id('1'));
    before.assert_unchanged(&machine.snapshot());
}

/// Somebody deleted the interface, or its sandbox was, and the same endpoint comes again.
#[test]
fn ports_of_an_endpoint_that_went_by_itself_go_when_it_comes_again() {
    let machine = Machine::new();
    let c1 = machine.world.container("c1");
    machine.create(&dual());
    let before = machine.snapshot();
    let e2 = machine.attach(&dual(), 2, &c1);
    machine.publish(&e2, &both());
    c1.ip("link del eth0");
    machine.attach(&dual(), 2, &c1);
    let ruleset = machine.host().command("nft", &["list", "tables"]);
    assert_eq!(ruleset.trim(), "table inet tenon_masquerade");
    machine.leave(&id('1'), &e2);
    let memory = format!("{}.json", id('1'));
    before
        .without(&memory)
        .assert_unchanged(&machine.snapshot().without(&memory));
}

#[test]
fn ports_are_published_where_they_are_wanted() {
    let machine = Machine::new();
    let outside = outside(&machine);
    machine.host().ip("addr add 192.0.2.7/24 dev up0");
    let wanted = dual().option("com.docker.network.bridge.host_binding_ipv4", "192.0.2.7");
    machine.create(&wanted);
    let c1 = machine.world.container("c1");
    let (e2, server) = machine.serve(&wanted, 2, &c1);
    machine.publish(
        &e2,
        &[tcp("", 8080), tcp("192.0.2.1", 8081), tcp("0.0.0.0", 8082)],
    );
    for (to, reached) in [
        ("192.0.2.7:8080", true),
        ("192.0.2.1:8080", false),
        ("192.0.2.7:8081", false),
        ("192.0.2.1:8081", true),
        ("192.0.2.7:8082", true),
        ("192.0.2.1:8082", true),
        ("[2001:db8::1]:8082", false),
    ] {
        let arrives = if reached {
            server.tcp_from(&outside, to)
        } else {
            server.try_tcp(&outside, to)
        };
        assert_eq!(arrives, reached, "{to}");
    }
}

#[test]
fn a_port_is_one_endpoints_and_of_a_range_the_next_is_taken() {
    let machine = Machine::new();
    let outside = outside(&machine);
    machine.create(&dual());
    let [c1, c2] = ["c1", "c2"].map(|name| machine.world.container(name));
    let (e2, first) = machine.serve(&dual(), 2, &c1);
    let (e3, second) = machine.serve(&dual(), 3, &c2);
    machine.publish(&e2, &[tcp("", 8080)]);
    let before = machine.snapshot();
    let error = failure(machine.try_publish(&e3, &[udp("", 5353), tcp("", 8080)]));
    assert_eq!(error.code, ErrorCode::IN_USE);
    assert!(
        error.details.contains(&format!("id: {}", &e2[..40])),
        "{error}"
    );
    // Not even what was free.
    before.assert_unchanged(&machine.snapshot());

    let range = |end| PortBinding {
        host_port_end: end,
        ..tcp("", 8080)
    };
    machine.publish(&e3, &[tcp("", 8081), range(8083), range(8083)]);
    for (port, server) in [
        (8080, &first),
        (8081, &second),
        (8082, &second),
        (8083, &second),
    ] {
        assert!(
            server.tcp_from(&outside, &format!("192.0.2.1:{port}")),
            "{port}"
        );
    }
    assert_eq!(machine.check(&id('1'), &e3), "");
    let told = machine
        .driver
        .endpoint_info(&endpoint(&id('1'), &e3), soon())
        .unwrap();
    let told: Vec<PortBinding> = told.value[label::PORT_MAP].decode().unwrap();
    let ports: Vec<u16> = told.iter().map(|binding| binding.host_port).collect();
    assert_eq!(ports, [8081, 8082, 8083]);

    machine.withdraw(&e3);
    let error = failure(machine.try_publish(&e3, &[tcp("", 8081), range(8081)]));
    assert_eq!(error.code, ErrorCode::IN_USE, "{error}");
    before.assert_unchanged(&machine.snapshot());
    // What is not asked for any more goes.
    machine.publish(&e3, &[tcp("", 8090)]);
    machine.publish(&e3, &[tcp("", 8091)]);
    assert!(!second.try_tcp(&outside, "192.0.2.1:8090"));
    assert!(second.tcp_from(&outside, "192.0.2.1:8091"));
}

#[test]
fn what_leads_nowhere_or_is_routed_publishes_nothing() {
    let routed = dual()
        .option("com.docker.network.bridge.gateway_mode_ipv4", "routed")
        .option("com.docker.network.bridge.gateway_mode_ipv6", "routed");
    for wanted in [routed, dual().internal()] {
        let machine = Machine::new();
        let c1 = machine.world.container("c1");
        machine.create(&wanted);
        let e2 = machine.attach(&wanted, 2, &c1);
        let before = machine.snapshot();
        machine.publish(&e2, &both());
        before.assert_unchanged(&machine.snapshot());
        assert_eq!(machine.check(&id('1'), &e2), "");
    }
    let machine = Machine::new();
    let mut bare = dual();
    bare.request.ipv4_data.clear();
    bare.request.ipv6_data.clear();
    machine.create(&bare);
    let network = id('1');
    machine
        .try_endpoint((&network, "e1"), ["10.77.0.2/24", ""])
        .unwrap();
    let error = failure(machine.try_publish("e1", &both()));
    assert!(
        error.msg.contains("has no subnet that the host knows"),
        "{error}"
    );
}

#[test]
fn check_and_collect_know_of_ports() {
    let machine = Machine::new();
    let [c1, c2] = ["c1", "c2"].map(|name| machine.world.container(name));
    machine.create(&dual());
    let e2 = machine.attach(&dual(), 2, &c1);
    machine.publish(&e2, &both());
    let before = machine.snapshot();
    let e3 = machine.attach(&dual(), 3, &c2);
    machine.publish(&e3, &[tcp("", 8090)]);
    for _twice in 0..2 {
        machine
            .driver
            .collect(&id('1'), [e2.as_str()], soon())
            .unwrap();
        before.assert_unchanged(&machine.snapshot());
    }
    assert_eq!(machine.check(&id('1'), &e2), "");
    assert_eq!(machine.host().sysctl(LOCALNET), "1");
    machine
        .host()
        .command("nft", &["delete", "table", "inet", "tenon_portmap"]);
    let problems = machine.check(&id('1'), &e2);
    assert!(
        problems.contains("in table inet tenon_portmap"),
        "{problems}"
    );
    machine.publish(&e2, &both());
    assert_eq!(machine.check(&id('1'), &e2), "");
    machine.driver.collect(&id('1'), [], soon()).unwrap();
    assert_eq!(machine.host().sysctl(LOCALNET), "0");
}

#[test]
fn loopback_is_let_through_only_for_as_long_as_it_was_not_before() {
    let machine = Machine::new();
    machine.host().ip("link add br0 type bridge");
    let key = "net/ipv4/conf/br0/route_localnet";
    let wanted = dual().option(BRIDGE_NAME, "br0");
    let c1 = machine.world.container("c1");
    for before in ["0", "1"] {
        machine.host().set_sysctl(key, before);
        machine.create(&wanted);
        let (e2, server) = machine.serve(&wanted, 2, &c1);
        machine.publish(&e2, &both());
        assert_eq!(machine.host().sysctl(key), "1");
        assert!(server.tcp_from(machine.host(), "127.0.0.1:8080"));
        machine.leave(&id('1'), &e2);
        assert_eq!(machine.host().sysctl(key), before);
        machine.delete(&id('1'));
    }
}

#[test]
fn a_bridge_that_is_made_again_lets_loopback_through_again() {
    let machine = Machine::new();
    let [c1, c2] = ["c1", "c2"].map(|name| machine.world.container(name));
    machine.create(&dual());
    let (e2, server) = machine.serve(&dual(), 2, &c1);
    machine.publish(&e2, &both());
    machine.host().ip("link del br-111111111111");
    machine.attach(&dual(), 3, &c2);
    assert_eq!(machine.check(&id('1'), &e2), "");
    assert!(server.tcp_from(machine.host(), "127.0.0.1:8080"));
    machine.leave(&id('1'), &e2);
    assert_eq!(machine.host().sysctl(LOCALNET), "0");
}
