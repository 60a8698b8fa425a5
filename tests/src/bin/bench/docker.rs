//! The two that join containers to networks of Docker's model: dockerd, and `cnm-shim` without it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, Suite, World};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::Driver;
use tenon_tests::dockerd::{Dockerd, SOCKET};
use tenon_tests::engine::Engine;

use crate::run::Call;

/// Docker's own client, of the same package as the daemon.
const CLIENT: &str = "/usr/bin/docker";

/// The driver's name.
const DRIVER: &str = "tenon";

/// The container that comes and goes. Another one is on each network all the time.
const GUEST: &str = "guest";

/// A network that both sides have, each with a subnet of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Of a driver that is a program, for addresses too: the same one for both sides.
    Remote,
    /// Of Docker's driver `bridge`, and of the one that is built into the shim.
    Bridge,
}

/// How Docker is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By one request to its socket.
    Api,
    /// By running `docker network connect`.
    Client,
}

/// A host on which dockerd and the driver run, and the shim as well.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) driver: Driver,
    dockerd: Dockerd<'a>,
    suite: &'a Suite,
    world: &'a World,
    /// Keeps the residents' namespaces.
    _residents: Vec<Netns>,
}

impl Network {
    const ALL: [Self; 2] = [Self::Remote, Self::Bridge];

    const fn name(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Bridge => "plain",
        }
    }

    /// What dockerd makes.
    fn of_docker(self) -> Value {
        let (driver, ipam, subnet) = match self {
            Self::Remote => (DRIVER, DRIVER, "10.77.0.0/16"),
            Self::Bridge => ("bridge", "default", "10.78.0.0/16"),
        };
        let ipam = json!({"Driver": ipam, "Config": [{"Subnet": subnet}]});
        json!({"Name": self.name(), "Driver": driver, "IPAM": ipam})
    }

    /// What the shim is told. dockerd runs without a packet filter here, so its bridge masquerades
    /// nobody, and neither does this one.
    fn of_shim(self, records: &Path) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0",
            "name": self.name(),
            "type": "cnm-shim",
            "dataDir": records,
        });
        let own = match self {
            Self::Remote => {
                json!({"driver": DRIVER, "ipamDriver": DRIVER, "subnet": "10.79.0.0/16"})
            }
            Self::Bridge => json!({
                "subnet": "10.80.0.0/16",
                "options": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
            }),
        };
        if let (Some(conf), Value::Object(own)) = (conf.as_object_mut(), own) {
            conf.extend(own);
        }
        conf
    }
}

impl<'a> Node<'a> {
    /// Everything is running and warm: each network is there, with a container on it.
    pub(crate) fn start(world: &'a World, suite: &'a Suite, disk: &Path) -> Result<Self> {
        let driver = Driver::named(DRIVER).start();
        let dockerd = Dockerd::start_quietly(world, &disk.join("docker"));
        let engine = dockerd.engine();
        let records = disk.join("cnm-shim");
        let mut residents = Vec::new();
        for network in Network::ALL {
            engine.create_network_with(&network.of_docker());
            engine.run(&format!("resident-{}", network.name()), network.name());
            let netns = world.container(&format!("resident-{}", network.name()));
            let mut resident = Shim {
                suite,
                conf: network.of_shim(&records),
                id: format!("resident-{}", network.name()),
                netns,
                result: None,
            };
            resident.join()?;
            residents.push(resident.netns);
        }
        engine.create_network("base", "bridge", "10.81.0.0/16");
        engine.run(GUEST, "base");
        Ok(Self {
            driver,
            dockerd,
            suite,
            world,
            _residents: residents,
        })
    }

    /// Docker's side.
    pub(crate) fn docker(&self, network: Network, asked: Asked) -> Docker<'_> {
        Docker {
            engine: self.dockerd.engine(),
            network: network.name(),
            asked,
        }
    }

    /// The shim's side, with a container of its own.
    pub(crate) fn shim(&self, network: Network, disk: &Path) -> Shim<'_> {
        Shim {
            suite: self.suite,
            conf: network.of_shim(&disk.join("cnm-shim")),
            id: GUEST.to_owned(),
            netns: self.world.container(GUEST),
            result: None,
        }
    }

    /// Docker's version and that of its API.
    pub(crate) fn docker_version(&self) -> String {
        let version = self.dockerd.engine().ok("GET", "/version", &Value::Null);
        let text = |key: &str| {
            version
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("unknown")
        };
        format!("{} (API {})", text("Version"), text("ApiVersion"))
    }
}

/// One that joins a container to a network and takes it off again, and tells how long it took.
pub(crate) trait Joins {
    /// Joins it, or fails.
    fn join(&mut self) -> Result<Duration>;
    /// Takes it off, or fails.
    fn leave(&mut self) -> Result<Duration>;
    /// Whether it is on the network, so that nobody wins by doing nothing.
    fn is_joined(&self) -> bool;
}

/// Docker, whose container runs already.
#[derive(Debug)]
pub(crate) struct Docker<'a> {
    engine: &'a Engine,
    network: &'static str,
    asked: Asked,
}

impl Docker<'_> {
    fn client(&self, verb: &str) -> Result<Duration> {
        let host = format!("unix://{SOCKET}");
        let mut command = Command::new(CLIENT);
        command
            .args(["--host", &host, "network", verb, self.network, GUEST])
            .env_clear()
            .stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().with_context(|| format!("run {CLIENT}"))?;
        let elapsed = start.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker network {verb}: {said}");
        Ok(elapsed)
    }
}

impl Joins for Docker<'_> {
    fn join(&mut self) -> Result<Duration> {
        if self.asked == Asked::Client {
            return self.client("connect");
        }
        let start = Instant::now();
        let answer = self.engine.connect(self.network, GUEST, &Value::Null);
        let elapsed = start.elapsed();
        ensure!(answer.status == 200, "connect: {}", answer.text());
        Ok(elapsed)
    }

    fn leave(&mut self) -> Result<Duration> {
        if self.asked == Asked::Client {
            return self.client("disconnect");
        }
        let start = Instant::now();
        let answer = self.engine.disconnect(self.network, GUEST);
        let elapsed = start.elapsed();
        ensure!(answer.status == 200, "disconnect: {}", answer.text());
        Ok(elapsed)
    }

    fn is_joined(&self) -> bool {
        let endpoint = self.engine.endpoint(GUEST, self.network);
        endpoint.get("IPAddress").is_some_and(|ip| ip != "")
    }
}

/// The shim, called as a runtime calls it.
#[derive(Debug)]
pub(crate) struct Shim<'a> {
    suite: &'a Suite,
    conf: Value,
    id: String,
    netns: Netns,
    /// What its ADD answered, as DEL gets it.
    result: Option<Value>,
}

impl Shim<'_> {
    fn call(&self, command: &'static str) -> Call {
        let mut conf = self.conf.clone();
        if let (Some(result), Some(conf)) = (&self.result, conf.as_object_mut()) {
            conf.insert("prevResult".into(), result.clone());
        }
        let stdin = conf.to_string().into_bytes();
        Call::new(self.suite, "cnm-shim", command, stdin)
            .variable("CNI_CONTAINERID", &self.id)
            .variable("CNI_NETNS", self.netns.path())
            .variable("CNI_IFNAME", "eth0")
    }
}

impl Joins for Shim<'_> {
    fn join(&mut self) -> Result<Duration> {
        let (took, stdout) = self.call("ADD").timed()?;
        let result: Value = serde_json::from_slice(&stdout).context("decode the result of ADD")?;
        let addresses = result.get("ips").and_then(Value::as_array);
        ensure!(addresses.is_some_and(|ips| ips.len() == 1), "{result}");
        self.result = Some(result);
        Ok(took.answer)
    }

    fn leave(&mut self) -> Result<Duration> {
        let (took, _) = self.call("DEL").timed()?;
        self.result = None;
        Ok(took.answer)
    }

    fn is_joined(&self) -> bool {
        self.netns.link("eth0").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_get_the_same_kind_of_network() {
        for network in Network::ALL {
            let (docker, shim) = (network.of_docker(), network.of_shim(Path::new("/records")));
            let driver = shim.get("driver").cloned().unwrap_or("bridge".into());
            assert_eq!(docker["Driver"], driver);
            let ipam = shim.get("ipamDriver").cloned().unwrap_or("default".into());
            assert_eq!(docker["IPAM"]["Driver"], ipam);
            assert_eq!(shim["dataDir"], "/records");
        }
    }
}
