//! `route_localnet` of an interface: whether 127.0.0.0/8 may leave and come back by it.
//!
//! The kernel asks whether the setting is 0; what else it is does not matter to it, and we set it
//! to a number of our own. So whoever closes tells what we have opened from what somebody else has,
//! without keeping a note of it anywhere else.

use cni_types::IfName;

use crate::error::{Cause, NetlinkError, Op};
use crate::link::{Ipv4Conf, LinkId, set_ipv4_conf};
use crate::socket::Socket;
use crate::sysctl;

const CLOSED: u32 = 0;
const OPENED_BY_OTHERS: u32 = 1;
/// What nobody else sets it to.
const OPENED_BY_US: u32 = 2;

/// The setting of an interface in the calling thread's namespace; `None` if there is none.
fn value(interface: &str) -> Result<Option<u32>, NetlinkError> {
    match sysctl::read(&["net", "ipv4", "conf", interface, "route_localnet"]) {
        Ok(text) => Ok(text.parse().ok()),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(NetlinkError {
            op: Op::GetConf,
            subject: interface.to_owned(),
            cause: Cause::of_file(error.io()),
        }),
    }
}

/// Whether 127.0.0.0/8 may leave by an interface of the calling thread's namespace.
#[must_use]
pub fn is_open(interface: &IfName) -> bool {
    let open = |interface: &str| matches!(value(interface), Ok(Some(value)) if value != CLOSED);
    open(interface.as_str()) || open("all")
}

/// Whether an interface of the calling thread's namespace is as [`open`] leaves it.
///
/// # Errors
/// The kernel does not tell what is set.
pub fn is_opened_by_us(interface: &IfName) -> Result<bool, NetlinkError> {
    Ok(value(interface.as_str())? == Some(OPENED_BY_US))
}

/// Lets 127.0.0.0/8 leave by a link, unless it may already. The socket is of the calling thread's
/// namespace.
///
/// Works with a read-only `/proc/sys` too.
///
/// # Errors
/// The kernel refused, or does not tell what is set.
pub fn open(host: &Socket, link: &LinkId) -> Result<(), NetlinkError> {
    if value(&link.name)?.is_some_and(|value| value != CLOSED) {
        return Ok(());
    }
    let opened = [(Ipv4Conf::RouteLocalnet, OPENED_BY_US)];
    host.request(&set_ipv4_conf(link, &opened)).map(drop)
}

/// The same, for what nobody closes again.
///
/// # Errors
/// The kernel refused, or does not tell what is set.
pub fn open_for_good(host: &Socket, link: &LinkId) -> Result<(), NetlinkError> {
    if value(&link.name)?.is_some_and(|value| value != CLOSED && value != OPENED_BY_US) {
        return Ok(());
    }
    let opened = [(Ipv4Conf::RouteLocalnet, OPENED_BY_OTHERS)];
    host.request(&set_ipv4_conf(link, &opened)).map(drop)
}

/// Takes back what [`open`] has done to an interface, if it is still there. What somebody else has
/// opened stays open.
///
/// # Errors
/// The kernel refused, or does not tell what is set.
pub fn close(host: &Socket, interface: &IfName) -> Result<(), NetlinkError> {
    if value(interface.as_str())? != Some(OPENED_BY_US) {
        return Ok(());
    }
    let Some(link) = host.find_link(interface)? else {
        return Ok(());
    };
    let closed = [(Ipv4Conf::RouteLocalnet, CLOSED)];
    match host.request(&set_ipv4_conf(&link.id(), &closed)) {
        Err(error) if error.is_gone() => Ok(()),
        other => other.map(drop),
    }
}
