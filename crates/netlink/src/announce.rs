//! Telling the neighbours which hardware address an IP address has now.
//!
//! A container often gets an address that another had a moment ago; whoever still has that one's
//! hardware address in its cache cannot reach the new one until the entry expires.
//!
//! No packet socket: closing one waits for an RCU grace period, 12-16 ms where measured, many times
//! what all the rest of an ADD takes. IPv4 is announced by the kernel itself, which sends
//! gratuitous ARP for each address of a link with `arp_notify` when the link's hardware address is
//! set, to the same value too. IPv6 goes out of a raw `ICMPv6` socket.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use cni_types::MacAddr;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::Ipv6MulticastHops;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, sendto,
    setsockopt, socket,
};
use rtnetlink::LinkUnspec;

use crate::change::Change;
use crate::error::{Cause, NetlinkError, Op};
use crate::link::LinkId;

/// What a receiver insists on, as proof that no router forwarded the packet (RFC 4861 §7.1.2).
const HOP_LIMIT: i32 = 255;
/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Makes the kernel send gratuitous ARP for the IPv4 addresses of a link.
///
/// The link must be up and its setting [`Ipv4Conf::ArpNotify`](crate::Ipv4Conf::ArpNotify) on;
/// `mac` is the hardware address that it has.
#[must_use]
pub fn gratuitous_arp(link: &LinkId, mac: MacAddr) -> Change {
    let message = LinkUnspec::new_with_index(link.index)
        .address(mac.bytes().to_vec())
        .build();
    let subject = format!("the IPv4 addresses of {link}");
    Change::new(Op::Announce, subject, libc::RTM_SETLINK, 0, &message)
}

/// Sends an unsolicited neighbour advertisement for each IPv6 address, in the calling thread's
/// namespace. The link must be up. Addresses that are tentative are left out: nobody may have
/// heard of them yet.
///
/// # Errors
/// The link is gone, or something cannot be sent.
pub fn advertise(link: &LinkId, mac: MacAddr, addresses: &[IpAddr]) -> Result<(), NetlinkError> {
    for address in addresses.iter().filter_map(only_v6) {
        advertise_one(link.index, mac, address).map_err(|error| NetlinkError {
            op: Op::Announce,
            subject: format!("{address} of {link}"),
            cause: Cause::io(error),
        })?;
    }
    Ok(())
}

fn only_v6(ip: &IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    }
}

/// A socket for each: the address it is bound to is the one it sends from.
fn advertise_one(index: u32, mac: MacAddr, address: Ipv6Addr) -> io::Result<()> {
    let out = icmpv6_socket()?;
    let from: SockaddrIn6 = SocketAddrV6::new(address, 0, 0, index).into();
    match bind(out.as_raw_fd(), &from) {
        Err(Errno::EADDRNOTAVAIL) => return Ok(()), // tentative
        other => other?,
    }
    let to: SockaddrIn6 = SocketAddrV6::new(ALL_NODES, 0, 0, index).into();
    let packet = advertisement(address, mac);
    loop {
        match sendto(out.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

fn icmpv6_socket() -> nix::Result<OwnedFd> {
    let out = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::IcmpV6,
    )?;
    setsockopt(&out, Ipv6MulticastHops, &HOP_LIMIT)?;
    Ok(out)
}

/// A neighbour advertisement (RFC 4861 §4.4) with the override flag and the target's hardware
/// address. The kernel fills the checksum in.
fn advertisement(target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    const TYPE: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    const UNITS_OF_8_BYTES: u8 = 1;
    let mut packet = vec![TYPE, 0, 0, 0, OVERRIDE, 0, 0, 0];
    packet.extend_from_slice(&target.octets());
    packet.extend_from_slice(&[TARGET_LINK_LAYER_ADDRESS, UNITS_OF_8_BYTES]);
    packet.extend_from_slice(&mac.bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_what_rfc_4861_draws() {
        let target = "2001:db8::2".parse().unwrap();
        let packet = advertisement(target, "02:00:5e:00:53:01".parse().unwrap());
        #[rustfmt::skip]
        let expected = [
            136, 0, 0, 0,           // type, code, checksum
            0x20, 0, 0, 0,          // override
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
            2, 1,                   // target link-layer address, 8 bytes
            0x02, 0x00, 0x5e, 0x00, 0x53, 0x01,
        ];
        assert_eq!(packet, expected);
    }

    #[test]
    fn gratuitous_arp_sets_the_address_that_is_there() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let poke = gratuitous_arp(&LinkId::new(5, "eth0"), mac);
        assert!(poke.body.windows(6).any(|bytes| bytes == mac.bytes()));
        assert_eq!(poke.to_string(), "announce the IPv4 addresses of eth0");
    }
}
