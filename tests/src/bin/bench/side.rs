//! One of the two that are compared: a host of its own, its containers and its leases.

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, Suite, World};
use serde_json::{Value, json};

use crate::case::{Network, merged};
use crate::leases::{self, found, written};
use crate::rules;
use crate::run::{Call, Took, settle, together};
use crate::trace::{Cost, traced};

/// The port that the first container publishes.
const FIRST_PORT: u16 = 10_000;

/// A suite of plugins on a host namespace where nothing else happens.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    suite: &'a Suite,
    network: &'a Network,
    host: Netns,
    containers: Vec<Container>,
    data_dir: PathBuf,
}

#[derive(Debug)]
struct Container {
    netns: Netns,
    /// What its ADD answered, as DEL gets it.
    result: Option<Value>,
}

impl<'a> Side<'a> {
    /// A host with `count` containers, `/run/netns/<name>...`, and an empty directory of leases.
    pub(crate) fn new(
        world: &World,
        suite: &'a Suite,
        network: &'a Network,
        leases: &Path,
        count: usize,
    ) -> Result<Self> {
        let name = suite.name();
        let data_dir = leases.join(name);
        empty(&data_dir)?;
        let container = |index| Container {
            netns: world.container(&format!("{name}-{index}")),
            result: None,
        };
        let host = world.container(&format!("{name}-host"));
        if network.foreign_rules > 0 {
            rules::load(&host, network.foreign_rules)?;
        }
        Ok(Self {
            suite,
            network,
            host,
            containers: (0..count).map(container).collect(),
            data_dir,
        })
    }

    /// ADD for one container: the time that the plugins of its chain took.
    pub(crate) fn add(&mut self, index: usize) -> Result<Took> {
        self.settle();
        let runs = self.add_by(index, Call::timed)?;
        Ok(runs.into_iter().sum())
    }

    /// DEL for one container.
    pub(crate) fn del(&mut self, index: usize) -> Result<Took> {
        self.settle();
        let runs = self.del_by(index, Call::timed)?;
        Ok(runs.into_iter().sum())
    }

    /// ADD for many containers at once, of a network with one plugin.
    pub(crate) fn add_together(&mut self, indices: Range<usize>) -> Result<Took> {
        let calls = self.calls("ADD", indices.clone())?;
        self.settle();
        let (took, outputs) = self.host.run(|| together(&calls))?;
        for (index, stdout) in indices.zip(outputs) {
            let result = decode(&stdout, self.network.subnets.len())?;
            if let Some(container) = self.containers.get_mut(index) {
                container.result = Some(result);
            }
        }
        Ok(took)
    }

    /// DEL for many containers at once.
    pub(crate) fn del_together(&mut self, indices: Range<usize>) -> Result<Took> {
        let calls = self.calls("DEL", indices)?;
        self.settle();
        let (took, _) = self.host.run(|| together(&calls))?;
        Ok(took)
    }

    fn calls(&self, command: &'static str, indices: Range<usize>) -> Result<Vec<Call>> {
        let call_of = |index| {
            let container = self.containers.get(index).context("no such container")?;
            let confs = self.network.confs(&self.data_dir, port(index)?);
            let conf = confs.into_iter().next().context("no plugin")?;
            let result = container.result.clone().filter(|_| command != "ADD");
            let whose = (index, &container.netns);
            Ok(call(self.suite, command, whose, (conf, &result)))
        };
        indices.map(call_of).collect()
    }

    fn settle(&self) {
        if self.network.has_rules() {
            settle();
        }
    }

    /// What ADD and DEL for one container cost.
    pub(crate) fn trace(&mut self, index: usize) -> Result<[Cost; 2]> {
        let added = self.add_by(index, traced)?;
        let deleted = self.del_by(index, traced)?;
        Ok([added, deleted].map(|costs| costs.into_iter().sum()))
    }

    /// Makes sure that the plugins did the work: `count` containers are attached.
    pub(crate) fn expect_attached(&self, count: usize) -> Result<()> {
        let wanted = count * self.network.subnets.len();
        let leases = found(&self.data_dir)?;
        let (name, found) = (self.suite.name(), leases.len());
        ensure!(found == wanted, "{name} has {found} leases, not {wanted}");
        if self.network.has_links() {
            let links = self.host.link_names();
            let ends = links.iter().filter(|link| link.starts_with("veth")).count();
            ensure!(ends == count, "{name} has {ends} veth pairs, not {count}");
        }
        if self.network.is_chain() {
            let rules = self.host.command("nft", &["list", "ruleset"]);
            let named: HashSet<&str> = rules.split([' ', '\n', ',', '/']).collect();
            for address in leases {
                ensure!(
                    named.contains(&*address.to_string()),
                    "no rule of {name} for {address}"
                );
            }
        }
        Ok(())
    }

    /// Each plugin gets the result of the one before it.
    fn add_by<T: Send>(
        &mut self,
        index: usize,
        run: impl Fn(&Call) -> Result<(T, Vec<u8>)> + Sync,
    ) -> Result<Vec<T>> {
        let container = self
            .containers
            .get_mut(index)
            .context("no such container")?;
        let mut done = Vec::new();
        let mut result = None;
        for conf in self.network.confs(&self.data_dir, port(index)?) {
            let call = call(
                self.suite,
                "ADD",
                (index, &container.netns),
                (conf, &result),
            );
            let (outcome, stdout) = self.host.run(|| run(&call))?;
            done.push(outcome);
            result = Some(decode(&stdout, self.network.subnets.len())?);
        }
        // host-local alone is an IPAM plugin, which gets no result of its own.
        container.result = result.filter(|_| self.network.has_links());
        Ok(done)
    }

    /// The last plugin first, each with the result of all.
    fn del_by<T: Send>(
        &self,
        index: usize,
        run: impl Fn(&Call) -> Result<(T, Vec<u8>)> + Sync,
    ) -> Result<Vec<T>> {
        let Container { netns, result } =
            self.containers.get(index).context("no such container")?;
        let confs = self.network.confs(&self.data_dir, port(index)?);
        let run_one = |conf| {
            let call = call(self.suite, "DEL", (index, netns), (conf, result));
            let (outcome, _) = self.host.run(|| run(&call))?;
            Ok(outcome)
        };
        confs.into_iter().rev().map(run_one).collect()
    }
}

/// The port that a container publishes, if it does.
fn port(index: usize) -> Result<u16> {
    let index = u16::try_from(index).context("too many containers")?;
    FIRST_PORT.checked_add(index).context("too many containers")
}

/// A command for the container `index`, with what it is made of.
pub(crate) fn call(
    suite: &Suite,
    command: &'static str,
    (index, netns): (usize, &Netns),
    (conf, result): (Value, &Option<Value>),
) -> Call {
    let plugin = conf.get("type").and_then(Value::as_str).unwrap_or_default();
    let plugin = plugin.to_owned();
    let with_result = match result {
        Some(result) => merged(conf, json!({"prevResult": result})),
        None => conf,
    };
    let stdin = with_result.to_string().into_bytes();
    // As long as the ids of real runtimes.
    Call::new(suite, &plugin, command, stdin)
        .variable("CNI_CONTAINERID", format!("{index:064x}"))
        .variable("CNI_NETNS", netns.path())
        .variable("CNI_IFNAME", "eth0")
}

fn decode(stdout: &[u8], wanted: usize) -> Result<Value> {
    let result: Value = serde_json::from_slice(stdout).context("decode the result of ADD")?;
    let ips = result.get("ips").and_then(Value::as_array);
    let addresses = ips.map_or(0, Vec::len);
    ensure!(
        addresses == wanted,
        "{addresses} addresses, not {wanted}: {result}"
    );
    Ok(result)
}

/// The address that a plugin has given away.
pub(crate) fn address(result: &Value) -> Result<IpAddr> {
    let text = result.pointer("/ips/0/address").and_then(Value::as_str);
    let text = text.with_context(|| format!("no address: {result}"))?;
    let (address, _prefix) = text.split_once('/').context("no prefix")?;
    address.parse().context("decode the address")
}

/// Makes an empty directory of leases.
pub(crate) fn empty(data_dir: &Path) -> Result<()> {
    leases::remove(data_dir)?;
    fs::create_dir_all(data_dir).context("make the directory of leases")?;
    written(data_dir)
}
