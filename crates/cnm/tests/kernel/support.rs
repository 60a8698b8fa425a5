//! A controller in a few lines, and a machine for it.

use std::error::Error as _;
use std::time::{Duration, Instant};

use cni_cnm::builtin::BridgeDriver;
use cni_cnm::wire::network::{
    CreateEndpointReply, CreateEndpointRequest, CreateNetworkRequest, EndpointInterface,
    EndpointRequest, IpamData, JoinReply, JoinRequest, NetworkRequest,
};
use cni_cnm::wire::{Options, label};
use cni_cnm::{Cause, DriverError, NetworkDriver};
use cni_testkit::{Netns, Snapshot, World};
use cni_types::{CniError, Json};

pub(crate) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub(crate) const ENABLE_ICC: &str = "com.docker.network.bridge.enable_icc";

/// By when everything has an answer.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A machine with the driver on it, and what it remembers.
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) driver: BridgeDriver,
}

/// The ids of networks and endpoints have 64 digits.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A network that tests ask for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) request: CreateNetworkRequest,
}

/// Network `1` with both families, `10.77.0.0/24` and `fd00:77::/64`.
pub(crate) fn dual() -> Wanted {
    let data = |pool: &str, gateway: &str| IpamData {
        address_space: "LocalDefault".into(),
        pool: pool.into(),
        gateway: gateway.into(),
        ..IpamData::default()
    };
    Wanted {
        request: CreateNetworkRequest {
            network_id: id('1'),
            options: [(label::ENABLE_IPV6.to_owned(), Json::Bool(true))].into(),
            ipv4_data: vec![data("10.77.0.0/24", "10.77.0.1/24")],
            ipv6_data: vec![data("fd00:77::/64", "fd00:77::1/64")],
        },
    }
}

impl Wanted {
    pub(crate) fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.request.network_id);
        self
    }

    /// The subnets of network `n`, instead of 77.
    pub(crate) fn subnets(mut self, n: u8) -> Self {
        let number = n.to_string();
        let data = self.request.ipv4_data.iter_mut();
        for data in data.chain(&mut self.request.ipv6_data) {
            data.pool = data.pool.replace("77", &number);
            data.gateway = data.gateway.replace("77", &number);
        }
        self
    }

    pub(crate) fn internal(mut self) -> Self {
        let yes = Json::Bool(true);
        self.request.options.insert(label::INTERNAL.to_owned(), yes);
        self
    }

    /// One more of the network's own options.
    pub(crate) fn option(mut self, key: &str, value: &str) -> Self {
        let generic = self.request.options.entry(label::GENERIC.to_owned());
        let value = Json::String(value.to_owned());
        generic.or_default().set(key, value);
        self
    }
}

impl Machine {
    /// The host forwards already, so that networks leave nothing behind.
    pub(crate) fn new() -> Self {
        let world = World::new();
        skip_dad(world.host());
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            world.host().set_sysctl(key, "1");
        }
        let driver = BridgeDriver::new(&world.dir().join("bridge"));
        Self { world, driver }
    }

    pub(crate) fn host(&self) -> &Netns {
        self.world.host()
    }

    /// What the driver may have changed: the host's network, and what is remembered.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::of(self.host()).tree(&self.world.dir().join("bridge"));
        // The directory itself stays.
        snapshot.without("bridge/ ")
    }

    pub(crate) fn create(&self, wanted: &Wanted) {
        self.driver
            .create_network(&wanted.request, soon())
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    pub(crate) fn refused(&self, wanted: &Wanted) -> CniError {
        failure(self.driver.create_network(&wanted.request, soon()))
    }

    pub(crate) fn delete(&self, network_id: &str) {
        let network_id = network_id.to_owned();
        let deleted = self
            .driver
            .delete_network(&NetworkRequest { network_id }, soon());
        deleted.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    pub(crate) fn try_endpoint(
        &self,
        (network_id, endpoint_id): (&str, &str),
        addresses: [&str; 2],
    ) -> Result<CreateEndpointReply, DriverError> {
        let [address, address_ipv6] = addresses.map(str::to_owned);
        let request = CreateEndpointRequest {
            network_id: network_id.to_owned(),
            endpoint_id: endpoint_id.to_owned(),
            interface: EndpointInterface {
                address,
                address_ipv6,
                mac_address: String::new(),
            },
            options: Options::new(),
        };
        self.driver.create_endpoint(&request, soon())
    }

    pub(crate) fn join(&self, network_id: &str, endpoint_id: &str, sandbox: &Netns) -> JoinReply {
        let request = JoinRequest {
            network_id: network_id.to_owned(),
            endpoint_id: endpoint_id.to_owned(),
            sandbox_key: sandbox.path_str().to_owned(),
            options: Options::new(),
        };
        let joined = self.driver.join(&request, soon());
        joined.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// All that a controller does to bring a sandbox to a network: the endpoint is called as the
    /// last octets of its addresses.
    pub(crate) fn attach(&self, wanted: &Wanted, host: u8, sandbox: &Netns) -> String {
        let network_id = &wanted.request.network_id;
        let endpoint_id = endpoint_id(network_id, host);
        let data = [&wanted.request.ipv4_data, &wanted.request.ipv6_data];
        let addresses = data.map(|data| {
            let pool = data.first().map(|data| data.pool.as_str());
            pool.map(|pool| address(pool, host)).unwrap_or_default()
        });
        let endpoint = (network_id.as_str(), endpoint_id.as_str());
        let made = self.try_endpoint(endpoint, [&addresses[0], &addresses[1]]);
        let made = made.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let joined = self.join(network_id, &endpoint_id, sandbox);
        self.place(&joined, &made, &addresses, sandbox);
        endpoint_id
    }

    /// Puts the interface into the sandbox, as the first `eth0`, with addresses and gateways.
    fn place(
        &self,
        joined: &JoinReply,
        made: &CreateEndpointReply,
        addresses: &[String],
        sandbox: &Netns,
    ) {
        let (from, ifname) = (
            &joined.interface_name.src_name,
            format!("{}0", joined.interface_name.dst_prefix),
        );
        skip_dad(sandbox);
        let path = sandbox.path_str();
        let name = path.rsplit('/').next().unwrap();
        self.host()
            .ip(&format!("link set {from} netns {name} name {ifname}"));
        let link = sandbox.link(&ifname).unwrap();
        assert_eq!(link["address"], made.interface.mac_address.as_str());
        for address in addresses.iter().filter(|address| !address.is_empty()) {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            sandbox.ip(&format!("addr add {address} dev {ifname}{nodad}"));
        }
        sandbox.ip(&format!("link set {ifname} up"));
        for gateway in [&joined.gateway, &joined.gateway_ipv6] {
            if !gateway.is_empty() {
                sandbox.ip(&format!("route add default via {gateway}"));
            }
        }
    }

    pub(crate) fn leave(&self, network_id: &str, endpoint_id: &str) {
        let request = endpoint(network_id, endpoint_id);
        for step in [
            self.driver.revoke_external_connectivity(&request, soon()),
            self.driver.leave(&request, soon()),
            self.driver.delete_endpoint(&request, soon()),
        ] {
            step.unwrap_or_else(|error| panic!("{}", chain(&error)));
        }
    }

    /// What CHECK says of an endpoint; nothing if all is well.
    pub(crate) fn check(&self, network_id: &str, endpoint_id: &str) -> String {
        match self.driver.check_endpoint(network_id, endpoint_id, soon()) {
            Ok(()) => String::new(),
            Err(error) => error.details,
        }
    }
}

/// No address has to wait for its duplicates here.
pub(crate) fn skip_dad(netns: &Netns) {
    netns.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
}

pub(crate) fn endpoint(network_id: &str, endpoint_id: &str) -> EndpointRequest {
    EndpointRequest {
        network_id: network_id.to_owned(),
        endpoint_id: endpoint_id.to_owned(),
    }
}

/// An id that tells network and host.
pub(crate) fn endpoint_id(network_id: &str, host: u8) -> String {
    format!("{:0>64}", format!("{}{host:02x}", &network_id[..4]))
}

/// `10.77.0.0/24` -> `10.77.0.<host>/24`
fn address(pool: &str, host: u8) -> String {
    let (network, prefix) = pool.split_once('/').unwrap();
    match network.strip_suffix(".0") {
        Some(start) => format!("{start}.{host}/{prefix}"),
        None => format!("{network}{host:x}/{prefix}"),
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &DriverError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Why a call failed.
pub(crate) fn failure<T: std::fmt::Debug>(outcome: Result<T, DriverError>) -> CniError {
    match outcome.unwrap_err().cause {
        Cause::Failed(error) => error.downcast_ref::<CniError>().unwrap().clone(),
        other => panic!("{other:?}"),
    }
}
