//! A host with many published ports, the last of which leads to somebody who answers.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, Suite, World};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

use crate::case::{VERSION, mapping};
use crate::copies::{Published, copies};
use crate::run::{Call, Took, settle};
use crate::side::call;
use crate::trace::{Cost, traced};

const CLIENT: &str = "192.0.2.2";
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address of the one container that there is.
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The others' are counted from here.
const OTHERS: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 0);
/// Ports of the host are counted from here.
const BEFORE_PORTS: u16 = 10_000;

/// A suite's portmap on a host of its own, between a client and a container.
#[derive(Debug)]
pub(crate) struct PortSide<'a> {
    suite: &'a Suite,
    host: Netns,
    client: Netns,
    container: Netns,
    listener: TcpListener,
    ports: u16,
}

impl<'a> PortSide<'a> {
    /// With all but the last of `ports` published.
    pub(crate) fn new(world: &World, suite: &'a Suite, ports: u16) -> Result<Self> {
        let netns = |role: &str| world.container(&format!("{}-{role}", suite.name()));
        let (host, client, container) = (netns("host"), netns("client"), netns("container"));
        wire(suite, &host, &client, &container);
        let side = Self {
            listener: container.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))?,
            suite,
            host,
            client,
            container,
            ports,
        };
        side.publish_others()?;
        Ok(side)
    }

    /// ADD of the last port.
    pub(crate) fn add(&self) -> Result<Took> {
        settle();
        self.run("ADD", self.ports, Call::timed)
    }

    /// DEL of the last port.
    pub(crate) fn del(&self) -> Result<Took> {
        settle();
        self.run("DEL", self.ports, Call::timed)
    }

    /// What ADD and DEL of the last port cost.
    pub(crate) fn trace(&self) -> Result<[Cost; 2]> {
        Ok([
            self.run("ADD", self.ports, traced)?,
            self.run("DEL", self.ports, traced)?,
        ])
    }

    /// Makes sure that all ports are there.
    pub(crate) fn expect_published(&self) -> Result<()> {
        let rules = if self.suite.is_reference() {
            self.host.command("iptables-save", &["-t", "nat"])
        } else {
            self.host.command("nft", &["list", "ruleset"])
        };
        let numbers: HashSet<&str> = rules.split(|c: char| !c.is_ascii_digit()).collect();
        for index in 1..=self.ports {
            let port = (BEFORE_PORTS + index).to_string();
            let name = self.suite.name();
            ensure!(numbers.contains(&*port), "{name} has not published {port}");
        }
        Ok(())
    }

    /// Connects to the last port `count` times, one after the other; the mean time of that.
    pub(crate) fn connect(&mut self, count: u32) -> Result<Took> {
        let to = SocketAddr::from((HOST, BEFORE_PORTS + self.ports));
        let time = self.client.run(|| {
            let mut time = Duration::ZERO;
            for _connection in 0..count {
                let start = Instant::now();
                let stream = TcpStream::connect(to).context("connect to the last port")?;
                time += start.elapsed();
                // It was the kernel that has answered; and here nothing is left of it.
                self.listener.accept().context("accept a connection")?;
                reset(&stream)?;
            }
            Ok::<_, anyhow::Error>(time)
        })?;
        Took::just(time).each(count)
    }

    fn publish_others(&self) -> Result<()> {
        let by_plugin = if self.suite.is_reference() {
            2
        } else {
            self.ports
        };
        for index in 1..by_plugin.min(self.ports) {
            self.run("ADD", index, Call::timed)?;
        }
        if by_plugin < self.ports {
            let saved = self.host.command("iptables-save", &["-t", "nat"]);
            let rules = copies(
                &saved,
                &published(1),
                (by_plugin..self.ports).map(published),
            )?;
            self.restore(&rules)?;
        }
        Ok(())
    }

    fn restore(&self, rules: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new().context("make a file for rules")?;
        std::io::Write::write_all(&mut file, rules.as_bytes())?;
        let path = file.path().to_str().context("a name in UTF-8")?;
        self.host.command("iptables-restore", &["--noflush", path]);
        Ok(())
    }

    /// A command of portmap for one container.
    fn run<T: Send>(
        &self,
        command: &'static str,
        index: u16,
        run: impl Fn(&Call) -> Result<(T, Vec<u8>)> + Sync,
    ) -> Result<T> {
        let last = index == self.ports;
        let address = if last {
            CONTAINER
        } else {
            published(index).address
        };
        let conf = json!({
            "cniVersion": VERSION, "name": "bench", "type": "portmap",
            "runtimeConfig": {"portMappings": [mapping(BEFORE_PORTS + index)]},
        });
        let result: Option<Value> = Some(json!({
            "cniVersion": VERSION,
            "interfaces": [{"name": "eth0", "sandbox": self.container.path_str()}],
            "ips": [{"address": format!("{address}/16"), "interface": 0}],
        }));
        let call = call(
            self.suite,
            command,
            (index.into(), &self.container),
            (conf, &result),
        );
        let (outcome, _) = self.host.run(|| run(&call))?;
        Ok(outcome)
    }
}

/// The container at `index` and its port.
fn published(index: u16) -> Published {
    Published {
        index: index.into(),
        id: format!("{index:064x}"),
        port: BEFORE_PORTS + index,
        address: Ipv4Addr::from(u32::from(OTHERS) + u32::from(index)),
    }
}

/// A bridge with the container at one side of the host, the client at the other.
fn wire(suite: &Suite, host: &Netns, client: &Netns, container: &Netns) {
    let name = suite.name();
    for words in [
        "link add cni-bench0 type bridge",
        "addr add 10.88.0.1/16 dev cni-bench0",
        "link set cni-bench0 up",
        &format!("link add veth0 type veth peer name eth0 netns {name}-container"),
        "link set veth0 master cni-bench0 up",
        &format!("link add up0 type veth peer name eth0 netns {name}-client"),
        &format!("addr add {HOST}/24 dev up0"),
        "link set up0 up",
    ] {
        host.ip(words);
    }
    host.set_sysctl("net/ipv4/ip_forward", "1");
    for (netns, address, gateway) in [
        (client, format!("{CLIENT}/24"), HOST.to_string()),
        (container, format!("{CONTAINER}/16"), "10.88.0.1".to_owned()),
    ] {
        netns.ip(&format!("addr add {address} dev eth0"));
        netns.ip("link set eth0 up");
        netns.ip(&format!("route add default via {gateway}"));
    }
}

/// Has the connection end with a reset, so that no end waits for the other.
fn reset(stream: &TcpStream) -> Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(stream, sockopt::Linger, &at_once).context("have a connection reset")
}
