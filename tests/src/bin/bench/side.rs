//! One of the two that are compared: a host of its own, its containers and its leases.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, Suite, World};
use serde_json::Value;

use crate::case::Network;
use crate::run::Call;
use crate::trace::{Cost, traced};

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
        if data_dir.exists() {
            fs::remove_dir_all(&data_dir).context("clear the leases of the case before")?;
        }
        fs::create_dir_all(&data_dir).context("make the directory of leases")?;
        let container = |index| Container {
            netns: world.container(&format!("{name}-{index}")),
            result: None,
        };
        Ok(Self {
            suite,
            network,
            host: world.container(&format!("{name}-host")),
            containers: (0..count).map(container).collect(),
            data_dir,
        })
    }

    /// ADD for one container.
    pub(crate) fn add(&mut self, index: usize) -> Result<Duration> {
        let call = self.call("ADD", index)?;
        let (elapsed, stdout) = self.host.run(|| call.timed())?;
        self.keep(index, &stdout)?;
        Ok(elapsed)
    }

    /// DEL for one container.
    pub(crate) fn del(&mut self, index: usize) -> Result<Duration> {
        let call = self.call("DEL", index)?;
        let (elapsed, _) = self.host.run(|| call.timed())?;
        Ok(elapsed)
    }

    /// What ADD and DEL for one container cost.
    pub(crate) fn trace(&mut self, index: usize) -> Result<[Cost; 2]> {
        let add = self.call("ADD", index)?;
        let (added, stdout) = self.host.run(|| traced(&add))?;
        self.keep(index, &stdout)?;
        let del = self.call("DEL", index)?;
        let (deleted, _) = self.host.run(|| traced(&del))?;
        Ok([added, deleted])
    }

    /// Makes sure that the plugins did the work: `count` containers are attached.
    pub(crate) fn expect_attached(&self, count: usize) -> Result<()> {
        let wanted = count * self.network.subnets.len();
        let leases = count_leases(&self.data_dir)?;
        let name = self.suite.name();
        ensure!(leases == wanted, "{name} has {leases} leases, not {wanted}");
        if self.network.has_links() {
            let links = self.host.link_names();
            let ends = links.iter().filter(|link| link.starts_with("veth")).count();
            ensure!(ends == count, "{name} has {ends} veth pairs, not {count}");
        }
        Ok(())
    }

    fn call(&self, command: &'static str, index: usize) -> Result<Call> {
        let container = self.containers.get(index).context("no such container")?;
        let mut conf = self.network.conf(&self.data_dir);
        if let (Some(result), Some(keys)) = (&container.result, conf.as_object_mut()) {
            keys.insert("prevResult".into(), result.clone());
        }
        // As long as the ids of real runtimes.
        let id = format!("{index:064x}");
        let stdin = conf.to_string().into_bytes();
        Ok(Call::new(self.suite, self.network.plugin, command, stdin)
            .variable("CNI_CONTAINERID", id)
            .variable("CNI_NETNS", container.netns.path())
            .variable("CNI_IFNAME", "eth0"))
    }

    fn keep(&mut self, index: usize, stdout: &[u8]) -> Result<()> {
        let result: Value = serde_json::from_slice(stdout).context("decode the result of ADD")?;
        let addresses = result
            .get("ips")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let wanted = self.network.subnets.len();
        ensure!(
            addresses == wanted,
            "{addresses} addresses, not {wanted}: {result}"
        );
        if let Some(container) = self.containers.get_mut(index) {
            // host-local alone is an IPAM plugin, which gets no result of its own.
            container.result = self.network.has_links().then_some(result);
        }
        Ok(())
    }
}

/// Files named as addresses in the directories of networks.
fn count_leases(data_dir: &Path) -> Result<usize> {
    let mut count = 0;
    for network in fs::read_dir(data_dir)? {
        for file in fs::read_dir(network?.path())? {
            let name = file?.file_name();
            count += usize::from(
                name.to_str()
                    .is_some_and(|name| name.parse::<IpAddr>().is_ok()),
            );
        }
    }
    Ok(count)
}
