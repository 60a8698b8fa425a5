//! The words of the requests. Pure.

use std::collections::BTreeMap;

use cni_types::{IpCidr, Json};

use super::spec::{EndpointSpec, FamilySpec, NetworkSpec};
use crate::driver::IpamDriver;
use crate::store::record::{EndpointRecord, PoolRecord};
use crate::wire::ipam::{RequestAddressRequest, RequestPoolRequest};
use crate::wire::network::{
    CreateEndpointRequest, EndpointInterface, EndpointRequest, ExposedPort, IpamData, JoinRequest,
    PortBinding, ProgramRequest,
};
use crate::wire::{Options, label};

fn text(text: impl Into<String>) -> Json {
    Json::String(text.into())
}

fn texts(map: &BTreeMap<String, String>) -> Json {
    let members = map.iter();
    Json::Object(
        members
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
    )
}

/// The options of a network. Docker always sends the first two, and `internal` only where it is so.
pub(super) fn network_options(spec: &NetworkSpec) -> Options {
    let mut options = Options::from([
        (label::GENERIC.to_owned(), texts(&spec.options)),
        (label::ENABLE_IPV6.to_owned(), Json::Bool(spec.enable_ipv6)),
    ]);
    if spec.internal {
        options.insert(label::INTERNAL.to_owned(), Json::Bool(true));
    }
    options
}

/// What a family's pool is asked for with.
pub(super) fn pool(
    spec: &FamilySpec,
    ipv6: bool,
    address_space: &str,
    options: &BTreeMap<String, String>,
) -> RequestPoolRequest {
    let written = |cidr: Option<IpCidr>| cidr.map(|cidr| cidr.to_string()).unwrap_or_default();
    RequestPoolRequest {
        address_space: address_space.to_owned(),
        pool: written(spec.subnet),
        sub_pool: written(spec.range),
        options: (!options.is_empty()).then(|| options.clone()),
        v6: ipv6,
    }
}

/// A request for a gateway's address.
pub(super) fn gateway(pool: &str, wanted: &str) -> RequestAddressRequest {
    let options = BTreeMap::from([(
        label::REQUEST_ADDRESS_TYPE.to_owned(),
        label::GATEWAY.to_owned(),
    )]);
    RequestAddressRequest {
        pool_id: pool.to_owned(),
        address: wanted.to_owned(),
        options: Some(options),
    }
}

/// A request for an address with options, which are `null` if there are none.
pub(super) fn address(
    pool: &str,
    wanted: String,
    options: BTreeMap<String, String>,
) -> RequestAddressRequest {
    RequestAddressRequest {
        pool_id: pool.to_owned(),
        address: wanted,
        options: (!options.is_empty()).then_some(options),
    }
}

/// The same request for a driver that wants to know for whom.
pub(super) fn tagged(
    driver: &dyn IpamDriver,
    mut request: RequestAddressRequest,
    owner: &str,
) -> RequestAddressRequest {
    if driver.knows_owners() {
        let options = request.options.get_or_insert_default();
        options.insert(label::ENDPOINT_NAME.to_owned(), owner.to_owned());
    }
    request
}

/// A network's pool as its driver is told.
pub(super) fn ipam_data(pool: &PoolRecord, address_space: &str) -> IpamData {
    IpamData {
        address_space: address_space.to_owned(),
        pool: pool.subnet.clone(),
        gateway: pool.gateway.clone(),
        aux_addresses: pool.aux.clone(),
    }
}

/// A subnet of a network without an IPAM driver as its driver is told.
pub(super) fn given_data(spec: &FamilySpec) -> Option<IpamData> {
    let subnet = spec.subnet?;
    let within = |address: &std::net::IpAddr| format!("{address}/{}", subnet.prefix());
    let aux = spec.aux.iter();
    Some(IpamData {
        address_space: String::new(),
        pool: subnet.to_string(),
        gateway: spec.gateway.as_ref().map(within).unwrap_or_default(),
        aux_addresses: aux
            .map(|(name, address)| (name.clone(), within(address)))
            .collect(),
    })
}

/// What Leave, `DeleteEndpoint` and others are told.
pub(super) fn endpoint(record: &EndpointRecord) -> EndpointRequest {
    EndpointRequest {
        network_id: record.network.to_string(),
        endpoint_id: record.id.to_string(),
    }
}

/// The port mappings, as Join and `ProgramExternalConnectivity` get them. Docker sends both keys
/// whenever it sends any options.
pub(super) fn sandbox_options(ports: &[PortBinding]) -> Options {
    let exposed: Vec<Json> = exposed(ports).iter().map(json).collect();
    let bindings: Vec<Json> = ports.iter().map(json).collect();
    Options::from([
        (label::EXPOSED_PORTS.to_owned(), Json::Array(exposed)),
        (label::PORT_MAP.to_owned(), Json::Array(bindings)),
    ])
}

fn exposed(ports: &[PortBinding]) -> Vec<ExposedPort> {
    let mut exposed: Vec<ExposedPort> = Vec::new();
    for binding in ports {
        let port = ExposedPort {
            proto: binding.proto,
            port: binding.port,
        };
        if !exposed.contains(&port) {
            exposed.push(port);
        }
    }
    exposed
}

fn json(value: &impl serde::Serialize) -> Json {
    // Numbers and strings: this is always JSON.
    let text = serde_json::to_vec(value).unwrap_or_default();
    Json::parse(&text).unwrap_or_default()
}

/// `CreateEndpoint`: the endpoint's own options stand beside the port mappings.
pub(super) fn create_endpoint(
    record: &EndpointRecord,
    spec: &EndpointSpec,
) -> CreateEndpointRequest {
    let address = |ipv6: bool| {
        let mut all = record.addresses.iter();
        all.find(|address| address.contains(':') == ipv6)
            .cloned()
            .unwrap_or_default()
    };
    let mut options = sandbox_options(&spec.ports);
    let own = spec.options.iter();
    options.extend(own.map(|(key, value)| (key.clone(), text(value))));
    CreateEndpointRequest {
        network_id: record.network.to_string(),
        endpoint_id: record.id.to_string(),
        interface: EndpointInterface {
            address: address(false),
            address_ipv6: address(true),
            mac_address: record.mac.clone(),
        },
        options,
    }
}

/// Join.
pub(super) fn join(record: &EndpointRecord, spec: &EndpointSpec) -> JoinRequest {
    JoinRequest {
        network_id: record.network.to_string(),
        endpoint_id: record.id.to_string(),
        sandbox_key: record.sandbox.key.display().to_string(),
        options: sandbox_options(&spec.ports),
    }
}

/// `ProgramExternalConnectivity`.
pub(super) fn program(record: &EndpointRecord, spec: &EndpointSpec) -> ProgramRequest {
    ProgramRequest {
        network_id: record.network.to_string(),
        endpoint_id: record.id.to_string(),
        options: sandbox_options(&spec.ports),
    }
}
