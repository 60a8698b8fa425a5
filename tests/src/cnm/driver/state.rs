//! What the driver knows: networks, endpoints, pools.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::body::Body;
use super::ipam::{Ipam, Pool};
use super::links;
use super::method::Method;
use super::style::{Capabilities, Style};

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The request is at fault, as far as the driver can see.
    pub(super) bad_request: bool,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            bad_request: false,
            text: text.into(),
        }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self {
            bad_request: true,
            text: text.into(),
        }
    }
}

/// A network as `CreateNetwork` made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Its `NetworkID`.
    pub id: String,
    /// All `Options`.
    pub options: Value,
    /// The pools, IPv4 then IPv6, in CIDR form.
    pub pools: Vec<String>,
    /// The bridge's name.
    pub bridge: String,
    /// The gateways in CIDR form: of IPv4, of IPv6.
    pub(super) gateways: [Option<String>; 2],
}

/// An endpoint as `CreateEndpoint` and Join left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its `EndpointID`.
    pub id: String,
    /// Its `NetworkID`.
    pub network: String,
    /// In CIDR form; empty without.
    pub address: String,
    /// In CIDR form; empty without.
    pub address6: String,
    /// The MAC address of the container's end.
    pub mac: String,
    /// The `SandboxKey` of Join, until Leave.
    pub sandbox: Option<String>,
    /// Whether external connectivity is programmed.
    pub external: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) capabilities: Capabilities,
    pub(super) style: Style,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    pub(super) ipam: Ipam,
    /// Where addresses come from that the network driver supplies itself, by pool.
    pub(super) supplies: BTreeMap<String, Pool>,
    /// The links that were ever made, on the host's side. A restart does not remove them.
    pub(super) links: BTreeSet<String>,
}

impl State {
    /// What a restart without memory does.
    pub(super) fn forget(&mut self) {
        self.networks.clear();
        self.endpoints.clear();
        self.ipam = Ipam::default();
        self.supplies.clear();
    }

    /// Leaves nothing in the kernel, as far as it can.
    pub(super) fn remove_links(&mut self) {
        for link in std::mem::take(&mut self.links) {
            let _ = links::remove(&link);
        }
    }

    /// Does a call's work.
    pub(super) fn work(&mut self, method: Method, bytes: &[u8]) -> Result<Value, Failure> {
        let without_arguments = match method {
            Method::Activate => Some(json!({"Implements": self.capabilities.implements})),
            Method::GetCapabilities => Some(self.network_capabilities()),
            Method::IpamGetCapabilities => Some(json!({
                "RequiresMACAddress": self.capabilities.requires_mac,
                "RequiresRequestReplay": self.capabilities.requires_replay,
            })),
            Method::GetDefaultAddressSpaces => Some(json!({
                "LocalDefaultAddressSpace": self.capabilities.address_spaces[0],
                "GlobalDefaultAddressSpace": self.capabilities.address_spaces[1],
            })),
            _ => None,
        };
        match without_arguments {
            Some(reply) if bytes.is_empty() => Ok(reply),
            Some(_) => Err(Failure::bad_request("a body where there is nothing to say")),
            None => self.work_with(method, &Body::parse(bytes)?),
        }
    }

    fn network_capabilities(&self) -> Value {
        let known = &self.capabilities;
        let mut reply = json!({"Scope": known.scope});
        if !known.connectivity_scope.is_empty() {
            reply["ConnectivityScope"] = json!(known.connectivity_scope);
        }
        if known.gateway_check.is_some() {
            reply["GwAllocChecker"] = json!(true);
        }
        reply
    }

    fn work_with(&mut self, method: Method, body: &Body) -> Result<Value, Failure> {
        match method {
            Method::GwAllocCheck => {
                body.object("Options")?;
                let [v4, v6] = self.capabilities.gateway_check.unwrap_or_default();
                Ok(json!({"SkipIPv4": v4, "SkipIPv6": v6}))
            }
            Method::AllocateNetwork => Ok(json!({"Options": {}})),
            Method::CreateNetwork => self.create_network(body),
            Method::DeleteNetwork => self.delete_network(body),
            Method::CreateEndpoint => self.create_endpoint(body),
            Method::EndpointOperInfo => self.oper_info(body),
            Method::DeleteEndpoint => self.delete_endpoint(body),
            Method::Join => self.join(body),
            Method::Leave => self.leave(body),
            Method::ProgramExternalConnectivity => self.set_external(body, true),
            Method::RevokeExternalConnectivity => self.set_external(body, false),
            Method::RequestPool => self.ipam.request_pool(body, &self.style),
            Method::ReleasePool => self.ipam.release_pool(body, &self.style),
            Method::RequestAddress => self.ipam.request_address(body, &self.style),
            Method::ReleaseAddress => self.ipam.release_address(body, &self.style),
            // FreeNetwork and the notifications about nodes need no work.
            _ => Ok(json!({})),
        }
    }
}
