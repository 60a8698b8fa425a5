//! What other people have on a machine: links, addresses, routes, rules, files, some of it named much
//! like ours. Any choice of it can be generated, and shrinks.

use std::fs;

use cni_testkit::World;
use proptest::prelude::*;

/// One thing that is not ours. Its number keeps it apart from others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    kind: Kind,
    number: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A bridge with an address, and a port of it.
    Bridge,
    /// A veth pair with one end in our bridge, named as ours are.
    Port,
    /// A link with an alias that is nearly an owner's tag.
    Alias,
    /// A macvlan on a link of the host.
    Macvlan,
    Address,
    AddressV6,
    Route,
    RouteV6,
    PolicyRule,
    /// A table of somebody's, with a set and a rule.
    Table,
    /// A table whose name begins as ours do.
    TableNamedAlike,
    /// A rule in the kernel's own chain.
    FilterRule,
    /// The reference's masquerade chain of another network's container.
    ReferenceMasquerade,
    /// The reference's port mapping chain of another network's container.
    ReferencePort,
    /// A rule of the administrator's.
    AdminRule,
    /// A lease of another network.
    Lease,
    /// A file that is no lease, among the leases.
    FileAmongLeases,
    Qdisc,
}

const KINDS: [Kind; 18] = [
    Kind::Bridge,
    Kind::Port,
    Kind::Alias,
    Kind::Macvlan,
    Kind::Address,
    Kind::AddressV6,
    Kind::Route,
    Kind::RouteV6,
    Kind::PolicyRule,
    Kind::Table,
    Kind::TableNamedAlike,
    Kind::FilterRule,
    Kind::ReferenceMasquerade,
    Kind::ReferencePort,
    Kind::AdminRule,
    Kind::Lease,
    Kind::FileAmongLeases,
    Kind::Qdisc,
];

/// Up to `most` things, none twice.
pub fn some(most: usize) -> impl Strategy<Value = Vec<Foreign>> {
    let one = (prop::sample::select(KINDS.as_slice()), 1_u8..4);
    let one = one.prop_map(|(kind, number)| Foreign { kind, number });
    prop::collection::btree_set(one, 0..=most).prop_map(|set| set.into_iter().collect())
}

/// One of each kind.
pub fn one_of_each() -> Vec<Foreign> {
    let of = |kind| Foreign { kind, number: 1 };
    KINDS.map(of).to_vec()
}

impl Foreign {
    /// Makes it. `network` is ours; it is said to have a bridge `tenon0` already.
    pub fn make(self, world: &World, network: &str) {
        let n = self.number;
        for command in self.commands() {
            let words: Vec<&str> = command.split(' ').collect();
            world.host().command(words[0], &words[1..]);
        }
        match self.kind {
            Kind::Table => nft(world, &table(&format!("somebodys{n}"))),
            Kind::TableNamedAlike => nft(world, &table(&format!("tenon_{n}"))),
            Kind::ReferenceMasquerade => iptables(world, &masquerade(n)),
            Kind::ReferencePort => iptables(world, &port(n)),
            Kind::Lease => lease(world, "another", &format!("10.77.0.{n}"), "pod1\r\neth0"),
            Kind::FileAmongLeases => lease(world, network, &format!("note{n}"), "pod1\r\neth0"),
            _ => {}
        }
    }

    fn commands(self) -> Vec<String> {
        let n = self.number;
        let of = |texts: &[String]| texts.to_vec();
        match self.kind {
            Kind::Bridge => of(&[
                format!("ip link add theirs{n} type bridge"),
                format!("ip addr add 172.30.{n}.1/24 dev theirs{n}"),
                format!("ip link add vethb{n} type veth peer name vethp{n}"),
                format!("ip link set vethb{n} master theirs{n}"),
                format!("ip link set theirs{n} up"),
            ]),
            Kind::Port => of(&[
                format!("ip link add veth0000000{n} type veth peer name peer{n}"),
                format!("ip link set veth0000000{n} master tenon0"),
            ]),
            Kind::Alias => of(&[
                format!("ip link add veth1111111{n} type veth peer name alias{n}"),
                format!("ip link set veth1111111{n} alias 0123456789abcde{n}-fedcba9876543210"),
            ]),
            Kind::Macvlan => of(&[
                format!("ip link add under{n} type veth peer name other{n}"),
                format!("ip link add link under{n} name mac{n} type macvlan mode bridge"),
            ]),
            Kind::Address => of(&[format!("ip addr add 198.18.0.{n}/32 dev lo")]),
            Kind::AddressV6 => of(&[format!("ip addr add fd77::{n}/128 dev lo nodad")]),
            Kind::Route => of(&[format!("ip route add blackhole 198.51.{n}.0/24")]),
            Kind::RouteV6 => of(&[format!("ip -6 route add blackhole fd78:{n}::/48")]),
            Kind::PolicyRule => of(&[format!(
                "ip rule add from 198.18.{n}.0/24 lookup 100 priority 10{n}"
            )]),
            Kind::FilterRule => of(&[format!("iptables -A FORWARD -s 198.18.{n}.0/24 -j ACCEPT")]),
            Kind::AdminRule => of(&[format!(
                "iptables -t nat -A POSTROUTING -s 198.19.{n}.0/24 -j MASQUERADE"
            )]),
            Kind::Qdisc => of(&[
                format!("ip link add shaped{n} type veth peer name shapedp{n}"),
                format!("tc qdisc add dev shaped{n} root tbf rate 8mbit burst 32k latency 25ms"),
            ]),
            _ => Vec::new(),
        }
    }
}

fn table(name: &str) -> String {
    format!(
        "table inet {name} {{\n set them {{ type ipv4_addr; elements = {{ 198.18.0.9 comment \"pod1\" }}; }}\n \
         chain c {{ type filter hook forward priority 5; ip saddr @them accept comment \"pod1 eth0\"; }}\n}}\n"
    )
}

/// As the reference has it, for a container of our name on another network.
fn masquerade(n: u8) -> String {
    let comment = format!("-m comment --comment \"name: \\\"another{n}\\\" id: \\\"pod1\\\"\"");
    let chain = format!("CNI-0123456789abcdef0123456{n}");
    format!(
        "*nat\n:{chain} - [0:0]\n-A POSTROUTING -s 10.77.0.{n}/32 {comment} -j {chain}\n\
         -A {chain} -d 10.77.0.0/24 {comment} -j ACCEPT\n\
         -A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE\nCOMMIT\n"
    )
}

fn port(n: u8) -> String {
    let chain = format!("CNI-DN-0123456789abcdef0123{n}");
    format!(
        "*nat\n:{chain} - [0:0]\n\
         -A {chain} -p tcp -m tcp --dport 900{n} -j DNAT --to-destination 10.77.0.{n}:80\nCOMMIT\n"
    )
}

fn nft(world: &World, text: &str) {
    let file = world.file("foreign.nft", text);
    world.host().command("nft", &["-f", file.to_str().unwrap()]);
    fs::remove_file(file).unwrap();
}

fn iptables(world: &World, text: &str) {
    let file = world.file("foreign.iptables", text);
    let arguments = ["--noflush", file.to_str().unwrap()];
    world.host().command("iptables-restore", &arguments);
    fs::remove_file(file).unwrap();
}

fn lease(world: &World, network: &str, name: &str, content: &str) {
    let dir = world.data_dir().join(network);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), content).unwrap();
}
