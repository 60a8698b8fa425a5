//! Endpoints: veth pairs between a bridge and a sandbox.

use std::net::IpAddr;

use cni_firewall::masquerade;
use cni_netlink::{
    CreateVeth, Link, LinkId, NetlinkError, VethEnd, VethPair, delete_link, random_mac,
    set_alias_and_leave_group, set_port,
};
use cni_types::{CniError, IfName, IpCidr, MacAddr};

use super::config::parse_cidr;
use super::error::BridgeError;
use super::filter;
use super::host::{Host, Made, ignore_gone};
use super::names::{Endpoint, NAMES};
use super::state::{EndpointRecord, State};
use crate::wire::network::{
    CreateEndpointReply, CreateEndpointRequest, EndpointInterface, InterfaceName, JoinReply,
};

/// As few queues as a pair can have: it hands packets straight to the other end's backlog.
const VETH_QUEUES: u32 = 1;

/// How often the bridge is made again after somebody took it away under us.
const BRIDGE_TRIES: u8 = 3;

/// What an endpoint has been given already.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    addresses: Vec<IpCidr>,
    mac: Option<MacAddr>,
}

impl Given {
    fn parse(interface: &EndpointInterface) -> Result<Self, BridgeError> {
        let texts = [&interface.address, &interface.address_ipv6];
        let addresses = texts.into_iter().filter(|text| !text.is_empty());
        let addresses = addresses.map(|text| parse_cidr("address of the endpoint", text));
        let mac = match interface.mac_address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(BridgeError::Mac)?),
        };
        Ok(Self {
            addresses: addresses.collect::<Result<_, _>>()?,
            mac,
        })
    }

    /// As libnetwork up to 27: one that tells the IPv4 address, if there is any.
    fn mac(&self) -> MacAddr {
        let v4 = self.addresses.iter().find_map(|cidr| match cidr.addr() {
            IpAddr::V4(v4) => Some(v4.octets()),
            IpAddr::V6(_) => None,
        });
        let derived = v4.map(|[a, b, c, d]| MacAddr::new([0x02, 0x42, a, b, c, d]));
        self.mac.or(derived).unwrap_or_else(random_mac)
    }
}

/// Makes an endpoint: both ends are in the host's namespace then.
pub(super) fn create(
    host: &Host,
    state: &State,
    request: &CreateEndpointRequest,
) -> Result<CreateEndpointReply, CniError> {
    let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
    let mut made = Made::get(state, &endpoint.network)?;
    let given = Given::parse(&request.interface)?;
    if state.endpoint(&endpoint)?.is_some() {
        if find_host_end(host, state, &endpoint)?.is_some() {
            return Err(exists(&endpoint).into());
        }
        // What has been left of one that went without us.
        remove(host, state, &endpoint)?;
    }
    let mac = given.mac();
    // The first step either makes what is ours to remove, or nothing.
    let pair = create_pair(host, state, &mut made, (&endpoint, mac))?;
    let record = EndpointRecord {
        host: pair.0,
        container: pair.1,
        mac,
        addresses: given.addresses,
        ports: Vec::new(),
    };
    if let Err(error) = connect(host, state, &made, (&endpoint, &record)) {
        return Err(match remove(host, state, &endpoint) {
            Ok(()) => error,
            Err(second) => error.and(format_args!("also: {second}")),
        });
    }
    let mut reply = CreateEndpointReply::default();
    if given.mac.is_none() {
        reply.interface.mac_address = mac.to_string();
    }
    Ok(reply)
}

fn exists(endpoint: &Endpoint) -> BridgeError {
    BridgeError::EndpointExists(endpoint.as_str().to_owned())
}

/// Makes the pair, with its host end a port of the bridge, and up. Answers both names.
fn create_pair(
    host: &Host,
    state: &State,
    made: &mut Made,
    (endpoint, mac): (&Endpoint, MacAddr),
) -> Result<(IfName, IfName), CniError> {
    let (mut names, mut bridges) = (0, 1);
    let mut bridge = host.ensure_bridge(state, made)?;
    loop {
        let (host_end, container) = endpoint.interfaces(names)?;
        let request = CreateVeth {
            host: VethEnd {
                name: host_end.clone(),
                // Given by us on both ends, so that udev's MACAddressPolicy leaves them alone.
                mac: Some(random_mac()),
            },
            host_up: true,
            container: VethEnd {
                name: container.clone(),
                mac: Some(mac),
            },
            netns: None,
            mtu: made.config.mtu,
            queues: Some(VETH_QUEUES),
            master: Some(bridge.index),
            group: Some(endpoint.network.unmarked_group()),
        };
        match host.socket.create_veth(&request) {
            Ok(pair) => {
                mark(host, made, endpoint, &pair)?;
                return Ok((host_end, container));
            }
            Err(error) if error.is_exists() => {
                let taken = host.socket.find_link(&host_end)?;
                if let Some(link) = taken.as_ref().filter(|it| endpoint.network.is_unmarked(it)) {
                    // Ours, of an attempt that was killed.
                    ignore_gone(host.socket.request(&delete_link(&link.id())))?;
                    continue;
                }
                if taken.is_some_and(|link| endpoint.is_host_end(link.alias.as_deref())) {
                    return Err(exists(endpoint).into());
                }
                names += 1;
                if names >= NAMES {
                    return Err(BridgeError::NoName.into());
                }
            }
            Err(error) if error.is_gone() && bridges < BRIDGE_TRIES => {
                bridges += 1;
                bridge = host.ensure_bridge(state, made)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says whose the pair is: without that nobody would find it, so that it goes if it cannot be said.
fn mark(host: &Host, made: &Made, endpoint: &Endpoint, pair: &VethPair) -> Result<(), CniError> {
    let mut changes = vec![set_alias_and_leave_group(&pair.host, &endpoint.alias())];
    if !made.config.icc {
        changes.push(set_port(&pair.host, None, Some(true)));
    }
    let Err(error) = host.socket.send_all(&changes) else {
        return Ok(());
    };
    let error = CniError::from(NetlinkError::from(error));
    Err(
        match ignore_gone(host.socket.request(&delete_link(&pair.host))) {
            Ok(()) => error,
            Err(second) => error.and(format_args!("also: {}", CniError::from(second))),
        },
    )
}

/// What there is to do for an endpoint besides its interfaces.
fn connect(
    host: &Host,
    state: &State,
    made: &Made,
    (endpoint, record): (&Endpoint, &EndpointRecord),
) -> Result<(), CniError> {
    state.write_endpoint(endpoint, record)?;
    let masqueraded = made.config.masqueraded(&record.addresses);
    if !masqueraded.is_empty() {
        masquerade::add(&mut host.nft()?, &endpoint.owner, &masqueraded)?;
    }
    Ok(())
}

/// What the controller is to move, and how the sandbox gets out.
pub(super) fn join(host: &Host, state: &State, endpoint: &Endpoint) -> Result<JoinReply, CniError> {
    let made = Made::get(state, &endpoint.network)?;
    let missing = || BridgeError::NoEndpoint(endpoint.as_str().to_owned());
    let (_link, container) = find_host_end(host, state, endpoint)?.ok_or_else(missing)?;
    let text = |gateway: Option<IpAddr>| gateway.map(|ip| ip.to_string()).unwrap_or_default();
    Ok(JoinReply {
        interface_name: InterfaceName {
            src_name: container.to_string(),
            dst_prefix: made.config.prefix.clone(),
            dst_name: String::new(),
        },
        gateway: text(made.config.gateway(false)),
        gateway_ipv6: text(made.config.gateway(true)),
        ..JoinReply::default()
    })
}

/// The host's end of an endpoint, and the name that the other end was made with.
pub(super) fn find_host_end(
    host: &Host,
    state: &State,
    endpoint: &Endpoint,
) -> Result<Option<(Link, IfName)>, CniError> {
    // What cannot be read is derived, like what was never written.
    let remembered = state.endpoint(endpoint).unwrap_or_default();
    let remembered = remembered.map(|record| Ok((record.host, record.container)));
    let derived = (0..NAMES).map(|attempt| endpoint.interfaces(attempt));
    for names in remembered.into_iter().chain(derived) {
        let (host_end, container) = names?;
        match host.socket.find_link(&host_end)? {
            Some(link)
                if link.is_kind("veth") && endpoint.is_host_end(link.alias.as_deref())
                    || endpoint.network.is_unmarked(&link) =>
            {
                return Ok(Some((link, container)));
            }
            _foreign_or_none => {}
        }
    }
    Ok(None)
}

/// Removes an endpoint, as much of it as there is.
pub(super) fn remove(host: &Host, state: &State, endpoint: &Endpoint) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let record = state.endpoint(endpoint).unwrap_or_else(|error| {
        errors.push(error.into());
        None
    });
    // Closing the packet filter's socket waits for the kernel to dispose of the rules, as deleting
    // a link does for the link: kept open until then, it waits for both at once.
    let filter = filter::remove_all(host, state, (endpoint, record.as_ref()), &mut errors);
    errors.extend(remove_pair(host, state, endpoint).err());
    drop(filter);
    CniError::collect(errors)?;
    Ok(state.remove_endpoint(endpoint)?)
}

fn remove_pair(host: &Host, state: &State, endpoint: &Endpoint) -> Result<(), CniError> {
    let Some((link, _other)) = find_host_end(host, state, endpoint)? else {
        return Ok(());
    };
    let id: LinkId = link.id();
    Ok(ignore_gone(host.socket.request(&delete_link(&id)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(address: &str, address_ipv6: &str, mac_address: &str) -> Result<Given, BridgeError> {
        Given::parse(&EndpointInterface {
            address: address.into(),
            address_ipv6: address_ipv6.into(),
            mac_address: mac_address.into(),
        })
    }

    #[test]
    fn a_hardware_address_is_derived_where_none_is_given() {
        let mac = |given: Given| given.mac().to_string();
        let both = given("10.77.0.2/24", "fd00::2/64", "").unwrap();
        assert_eq!(both.addresses.len(), 2);
        assert_eq!(mac(both), "02:42:0a:4d:00:02");
        let own = given("10.77.0.2/24", "", "02:00:00:00:00:07").unwrap();
        assert_eq!(mac(own), "02:00:00:00:00:07");
        let without = given("", "fd00::2/64", "").unwrap();
        assert!(without.mac().is_unicast());
        assert_ne!(without.mac(), without.mac());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (address, mac, words) in [
            ("10.77.0.2", "", "invalid address of the endpoint"),
            ("", "02:42", "invalid MAC address of the endpoint"),
        ] {
            let error = given(address, "", mac).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }
}
