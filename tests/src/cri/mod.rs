//! A client of the Container Runtime Interface: the calls that kubelet makes for a pod.
//!
//! An error is the runtime's own message, which is where a plugin's error ends up.

mod wire;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

/// A connection to a runtime's socket. Calls block.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
}

/// A pod as kubelet asks for it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name; the uid is derived from it.
    pub name: String,
    /// How often it was restarted.
    pub attempt: u32,
    /// The control group it belongs under.
    pub cgroup_parent: String,
    /// Ports of the host that lead to it: protocol (`tcp`, `udp`), host port, its own port.
    pub ports: Vec<(&'static str, u16, u16)>,
    /// Annotations as in its manifest, e.g. `kubernetes.io/egress-bandwidth`.
    pub annotations: Vec<(&'static str, &'static str)>,
}

/// What `PodSandboxStatus` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodStatus {
    /// Whether it runs.
    pub ready: bool,
    /// Its address, then the additional ones.
    pub ips: Vec<String>,
}

impl Cri {
    /// Connects to a socket that may not be there yet.
    pub fn connect(socket: &Path) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(text)?;
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).map_err(text)?;
        let endpoint = endpoint.timeout(Duration::from_secs(60));
        let channel = runtime.block_on(endpoint.connect()).map_err(text)?;
        Ok(Self { runtime, channel })
    }

    /// The runtime's name and version.
    pub fn version(&self) -> Result<String, String> {
        let request = wire::VersionRequest {
            version: "v1".into(),
        };
        let reply: wire::VersionResponse = self.call("Version", request)?;
        Ok(format!("{} {}", reply.runtime_name, reply.runtime_version))
    }

    /// The condition `NetworkReady`, with its message where it is not.
    pub fn network_ready(&self) -> Result<(), String> {
        let reply: wire::StatusResponse =
            self.call("Status", wire::StatusRequest { verbose: false })?;
        let conditions = reply.status.unwrap_or_default().conditions;
        let ready = conditions
            .into_iter()
            .find(|condition| condition.name == "NetworkReady");
        match ready {
            Some(condition) if condition.status => Ok(()),
            Some(condition) => Err(condition.message),
            None => Err("there is no condition NetworkReady".into()),
        }
    }

    /// `RunPodSandbox`; returns the sandbox's id.
    pub fn run_pod(&self, pod: &Pod) -> Result<String, String> {
        let request = wire::RunPodSandboxRequest {
            config: Some(pod.into()),
        };
        let reply: wire::RunPodSandboxResponse = self.call("RunPodSandbox", request)?;
        Ok(reply.pod_sandbox_id)
    }

    /// `PodSandboxStatus`.
    pub fn pod_status(&self, id: &str) -> Result<PodStatus, String> {
        let reply = self.status(id, false)?;
        let status = reply.status.ok_or("no status")?;
        let network = status.network.unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        let ips = std::iter::once(network.ip)
            .chain(more)
            .filter(|ip| !ip.is_empty())
            .collect();
        Ok(PodStatus {
            ready: status.state == 0,
            ips,
        })
    }

    /// The id of a sandbox's first process, as the runtime counts processes.
    pub fn pod_pid(&self, id: &str) -> Result<u64, String> {
        let reply = self.status(id, true)?;
        let info = reply.info.get("info").ok_or("no info")?;
        let info: Value = serde_json::from_str(info).map_err(text)?;
        info["pid"]
            .as_u64()
            .ok_or_else(|| format!("no pid: {info}"))
    }

    /// The ids of all sandboxes, stopped ones too.
    pub fn pods(&self) -> Result<Vec<String>, String> {
        let reply: wire::ListPodSandboxResponse =
            self.call("ListPodSandbox", wire::ListPodSandboxRequest {})?;
        Ok(reply.items.into_iter().map(|pod| pod.id).collect())
    }

    /// `StopPodSandbox`.
    pub fn stop_pod(&self, id: &str) -> Result<(), String> {
        self.call::<_, wire::Empty>("StopPodSandbox", sandbox(id))
            .map(drop)
    }

    /// `RemovePodSandbox`.
    pub fn remove_pod(&self, id: &str) -> Result<(), String> {
        self.call::<_, wire::Empty>("RemovePodSandbox", sandbox(id))
            .map(drop)
    }

    /// `CreateContainer` and `StartContainer`, of the image's own command; returns the id.
    pub fn run_container(
        &self,
        sandbox_id: &str,
        pod: &Pod,
        image: &str,
    ) -> Result<String, String> {
        let config = wire::ContainerConfig {
            metadata: Some(wire::ContainerMetadata {
                name: "main".into(),
                attempt: 0,
            }),
            image: Some(wire::ImageSpec {
                image: image.into(),
            }),
            log_path: "main.log".into(),
        };
        let request = wire::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(pod.into()),
        };
        let reply: wire::CreateContainerResponse = self.call("CreateContainer", request)?;
        let container_id = reply.container_id;
        let start = wire::StartContainerRequest {
            container_id: container_id.clone(),
        };
        self.call::<_, wire::Empty>("StartContainer", start)?;
        Ok(container_id)
    }

    /// `ExecSync`: the exit code, and what was printed.
    pub fn exec(&self, container_id: &str, words: &[&str]) -> Result<(i32, String), String> {
        let request = wire::ExecSyncRequest {
            container_id: container_id.into(),
            cmd: words.iter().map(|&word| word.to_owned()).collect(),
            timeout: 20,
        };
        let reply: wire::ExecSyncResponse = self.call("ExecSync", request)?;
        let printed = [reply.stdout, reply.stderr].concat();
        Ok((
            reply.exit_code,
            String::from_utf8_lossy(&printed).into_owned(),
        ))
    }

    fn status(&self, id: &str, verbose: bool) -> Result<wire::PodSandboxStatusResponse, String> {
        let request = wire::PodSandboxStatusRequest {
            pod_sandbox_id: id.into(),
            verbose,
        };
        self.call("PodSandboxStatus", request)
    }

    fn call<Q, R>(&self, method: &str, request: Q) -> Result<R, String>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}")
            .parse()
            .unwrap();
        let codec = tonic_prost::ProstCodec::<Q, R>::default();
        self.runtime.block_on(async {
            let mut grpc = tonic::client::Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(text)?;
            let reply = grpc.unary(tonic::Request::new(request), path, codec).await;
            Ok(reply
                .map_err(|status| format!("{method}: {}", status.message()))?
                .into_inner())
        })
    }
}

impl From<&Pod> for wire::PodSandboxConfig {
    fn from(pod: &Pod) -> Self {
        Self {
            metadata: Some(wire::PodSandboxMetadata {
                name: pod.name.clone(),
                uid: format!("uid-of-{}", pod.name),
                namespace: "tenon".into(),
                attempt: pod.attempt,
            }),
            hostname: pod.name.clone(),
            log_directory: format!("/run/pod-logs/{}", pod.name),
            port_mappings: pod.ports.iter().map(port_mapping).collect(),
            annotations: (pod.annotations.iter())
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            linux: Some(wire::LinuxPodSandboxConfig {
                cgroup_parent: pod.cgroup_parent.clone(),
            }),
        }
    }
}

fn port_mapping(&(protocol, host_port, port): &(&str, u16, u16)) -> wire::PortMapping {
    let protocols = ["tcp", "udp"];
    let number = protocols.iter().position(|&known| known == protocol);
    wire::PortMapping {
        protocol: i32::try_from(number.unwrap()).unwrap(),
        container_port: port.into(),
        host_port: host_port.into(),
    }
}

fn sandbox(id: &str) -> wire::PodSandboxRequest {
    wire::PodSandboxRequest {
        pod_sandbox_id: id.into(),
    }
}

/// An error with its causes: tonic's own text is only "transport error".
fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
