//! The world's way to an endpoint: published ports.

use cni_firewall::portmap::{self, Mapping, Publication};
use cni_firewall::{Cause, FirewallError, Nft};
use cni_netlink::set_port;
use cni_types::{CniError, IpCidr};

use super::endpoint::find_host_end;
use super::error::BridgeError;
use super::host::{Host, Made, ignore_gone};
use super::loopback;
use super::names::Endpoint;
use super::ports::{self, Wanted};
use super::state::{EndpointRecord, State};
use crate::wire::network::PortBinding;

/// Publishes the ports of an endpoint. What has been published for it and is not asked for any more
/// is withdrawn.
pub(super) fn publish(
    host: &Host,
    state: &State,
    endpoint: &Endpoint,
    bindings: &[PortBinding],
) -> Result<(), CniError> {
    let made = Made::get(state, &endpoint.network)?;
    let missing = || BridgeError::NoEndpoint(endpoint.as_str().to_owned());
    let mut record = state.endpoint(endpoint)?.ok_or_else(missing)?;
    let wanted = bindings
        .iter()
        .map(|binding| Wanted::of(&made.config, binding));
    let wanted: Vec<Wanted> = wanted.collect::<Result<_, _>>()?;
    if !record.ports.is_empty() && record.ports != bindings {
        withdraw(host, state, endpoint)?;
    }
    let addresses = published(&made, &record);
    if bindings.is_empty() || addresses.is_empty() {
        return refuse_unreachable(&made, bindings);
    }
    // Remembered before it is done, so that it is withdrawn whatever happens.
    bindings.clone_into(&mut record.ports);
    state.write_endpoint(endpoint, &record)?;
    let publisher = Publisher {
        host,
        made: &made,
        endpoint,
        addresses,
    };
    let outcome = publisher.publish(&wanted).and_then(|chosen| {
        let chosen = bindings.iter().zip(&chosen);
        let chosen = chosen.map(|(binding, one)| ports::chosen(binding, one));
        record.ports = chosen.collect();
        state.write_endpoint(endpoint, &record)?;
        set_hairpin(host, state, endpoint, true)?;
        loopback::enter(host, state, &endpoint.network)
    });
    outcome.map_err(|error| match withdraw(host, state, endpoint) {
        Ok(()) => error,
        Err(second) => error.and(format_args!("also: {second}")),
    })
}

/// An internal network has no way in, and a routed one needs none: Docker ignores the mappings then.
/// Where the bridge has no subnet at all nobody could have meant it.
fn refuse_unreachable(made: &Made, bindings: &[PortBinding]) -> Result<(), CniError> {
    if bindings.is_empty() || made.config.internal || !made.config.subnets.is_empty() {
        return Ok(());
    }
    Err(BridgeError::NoSubnet(made.network.as_str().to_owned()).into())
}

/// Those of an endpoint's addresses that ports lead to.
fn published(made: &Made, record: &EndpointRecord) -> Vec<IpCidr> {
    let addresses = record
        .addresses
        .iter()
        .filter(|_address| !made.config.internal);
    let translated = addresses.filter(|address| made.config.translates(address.is_ipv6()));
    translated.copied().collect()
}

/// What is published for an endpoint, as it is remembered.
pub(super) fn publication(
    made: &Made,
    record: &EndpointRecord,
) -> Result<Option<Publication>, BridgeError> {
    let addresses = published(made, record);
    if record.ports.is_empty() || addresses.is_empty() {
        return Ok(None);
    }
    let wanted = record
        .ports
        .iter()
        .map(|binding| Wanted::of(&made.config, binding));
    let mappings = wanted.map(|wanted| wanted.map(|wanted| wanted.mapping));
    let mappings = mappings.collect::<Result<_, _>>()?;
    Ok(Some(with_loopback(made, addresses, mappings)))
}

/// Published ports are reached by the host itself, too: where Docker has a process for that, the
/// kernel does it.
fn with_loopback(made: &Made, addresses: Vec<IpCidr>, mappings: Vec<Mapping>) -> Publication {
    Publication {
        loopback: Some(made.config.bridge.clone()),
        ..Publication::new(addresses, mappings)
    }
}

struct Publisher<'a> {
    host: &'a Host,
    made: &'a Made,
    endpoint: &'a Endpoint,
    addresses: Vec<IpCidr>,
}

impl Publisher<'_> {
    /// Publishes what is certain at once, and then what there is a choice of, one by one. Answers
    /// the mappings, in the order in which they were wanted.
    fn publish(&self, wanted: &[Wanted]) -> Result<Vec<Mapping>, CniError> {
        let mut nft = self.host.nft()?;
        let certain = wanted.iter().filter(|wanted| !wanted.is_range());
        let mut taken: Vec<Mapping> = certain.map(|wanted| wanted.mapping).collect();
        self.add(&mut nft, taken.clone())?;
        let mut chosen = Vec::new();
        for wanted in wanted {
            let mapping = if wanted.is_range() {
                self.choose(&mut nft, *wanted, &taken)?
            } else {
                wanted.mapping
            };
            taken.push(mapping);
            chosen.push(mapping);
        }
        Ok(chosen)
    }

    /// The first port that nobody else has, this endpoint included.
    fn choose(
        &self,
        nft: &mut Nft,
        wanted: Wanted,
        taken: &[Mapping],
    ) -> Result<Mapping, CniError> {
        let mut refusal = None;
        for choice in wanted.choices() {
            if taken.iter().any(|taken| ports::clash(taken, &choice)) {
                continue;
            }
            match self.add(nft, vec![choice]) {
                Ok(()) => return Ok(choice),
                Err(error) if matches!(*error.cause, Cause::PortTaken { .. }) => {
                    refusal = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let twice = BridgeError::NoPort(wanted.mapping.host_port);
        Err(refusal.map_or_else(|| twice.into(), CniError::from))
    }

    fn add(&self, nft: &mut Nft, mappings: Vec<Mapping>) -> Result<(), FirewallError> {
        let publication = with_loopback(self.made, self.addresses.clone(), mappings);
        portmap::add(nft, &self.endpoint.owner, &publication)
    }
}

/// Withdraws all that is published for an endpoint.
pub(super) fn withdraw(host: &Host, state: &State, endpoint: &Endpoint) -> Result<(), CniError> {
    let record = state.endpoint(endpoint)?;
    if !may_publish(record.as_ref()) {
        return Ok(());
    }
    let mut nft = host.nft()?;
    remove(host, state, (endpoint, record.as_ref()), &mut nft)?;
    set_hairpin(host, state, endpoint, false)?;
    match record {
        Some(mut record) => {
            record.ports.clear();
            Ok(state.write_endpoint(endpoint, &record)?)
        }
        None => Ok(()),
    }
}

/// What an endpoint sends to its own published port comes back by the port of the bridge that it
/// came in by, where `br_netfilter` has it translated on the bridge. Not for all endpoints: those
/// would hear their own broadcasts, and take their own IPv6 address for another's.
fn set_hairpin(host: &Host, state: &State, endpoint: &Endpoint, on: bool) -> Result<(), CniError> {
    match find_host_end(host, state, endpoint)? {
        Some((link, _other)) if link.port.is_some() => {
            let changed = host.socket.request(&set_port(&link.id(), Some(on), None));
            Ok(ignore_gone(changed)?)
        }
        _no_port => Ok(()),
    }
}

/// Where nothing is remembered, there is no knowing.
fn may_publish(record: Option<&EndpointRecord>) -> bool {
    record.is_none_or(|record| !record.ports.is_empty())
}

/// Removes the rules that publish an endpoint's ports.
pub(super) fn remove(
    host: &Host,
    state: &State,
    (endpoint, record): (&Endpoint, Option<&EndpointRecord>),
    nft: &mut Nft,
) -> Result<(), CniError> {
    if !may_publish(record) {
        return Ok(());
    }
    let removed = portmap::remove(nft, &endpoint.owner)?;
    loopback::leave(host, state, (&endpoint.network, &removed.idle), nft)
}
