//! The messages, byte by byte as `netlink(7)` and `rtnetlink(7)` have them. Pure.

use std::os::fd::RawFd;

use nix::libc;

use super::Attachment;

/// `linux/veth.h`: the attribute that has the other end, its `ifinfomsg` first.
const VETH_INFO_PEER: u16 = 1;
/// The index of the container's end. Only the caller's namespace has so high ones.
const PEER_INDEX: u32 = 1_000_000;

/// One request for the veth pair: both ends where they belong, the host's up and a port of the bridge.
pub(super) fn link(wanted: &Attachment<'_>, netns: RawFd) -> Vec<u8> {
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    let mut message = Message::new(libc::RTM_NEWLINK, create);
    message.fixed(&ifinfo(wanted.index, true));
    message.text(libc::IFLA_IFNAME, &format!("veth{}", wanted.index));
    message.bytes(libc::IFLA_MASTER, &wanted.bridge.to_ne_bytes());
    message.nested(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth");
        info.nested(libc::IFLA_INFO_DATA, |data| {
            data.nested(VETH_INFO_PEER, |peer| {
                // It cannot be brought up before the other one is there.
                peer.fixed(&ifinfo(PEER_INDEX, false));
                peer.text(libc::IFLA_IFNAME, "eth0");
                peer.bytes(libc::IFLA_NET_NS_FD, &netns.to_ne_bytes());
            });
        });
    });
    message.done()
}

/// Three requests for one send: the container's end up, its address, and the default route.
pub(super) fn container(wanted: &Attachment<'_>) -> Vec<u8> {
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut up = Message::new(libc::RTM_NEWLINK, 0);
    up.fixed(&ifinfo(PEER_INDEX, true));

    let mut address = Message::new(libc::RTM_NEWADDR, create);
    // struct ifaddrmsg: family, prefix, flags, scope, index
    address.fixed(&[family(), wanted.prefix, 0, 0]);
    address.fixed(&PEER_INDEX.to_ne_bytes());
    address.bytes(libc::IFA_LOCAL, &wanted.address.octets());

    // An acknowledgement of the last is one of all: an error is told in any case.
    let mut route = Message::new(libc::RTM_NEWROUTE, create | libc::NLM_F_ACK);
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
    route.fixed(&[family(), 0, 0, 0, libc::RT_TABLE_MAIN]);
    route.fixed(&[
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    ]);
    route.fixed(&0_u32.to_ne_bytes());
    route.bytes(libc::RTA_GATEWAY, &wanted.gateway.octets());
    [up.done(), address.done(), route.done()].concat()
}

/// What an acknowledgement or an error says, 0 being no error; None of anything else.
pub(super) fn errno(answer: &[u8]) -> Option<i32> {
    // struct nlmsghdr: length, type, flags, sequence, port; then struct nlmsgerr begins with its code
    let kind = answer.get(4..6)?.try_into().ok()?;
    let is_error = i32::from(u16::from_ne_bytes(kind)) == libc::NLMSG_ERROR;
    let code: [u8; 4] = answer.get(16..20)?.try_into().ok()?;
    is_error.then(|| -i32::from_ne_bytes(code))
}

fn family() -> u8 {
    u8::try_from(libc::AF_INET).unwrap_or_default()
}

/// struct ifinfomsg: family, padding, type, index, flags, which flags are meant
fn ifinfo(index: u32, up: bool) -> [u8; 16] {
    let flags = if up { libc::IFF_UP.cast_unsigned() } else { 0 };
    let mut bytes = [0; 16];
    for (at, value) in [(4, index), (8, flags), (12, flags)] {
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }
    bytes
}

/// A request, and the attributes in it, being put together.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
        let mut message = Self(Vec::with_capacity(256));
        // struct nlmsghdr; the length comes last, sequence and port matter to nobody here
        message.fixed(&0_u32.to_ne_bytes());
        message.fixed(&kind.to_ne_bytes());
        message.fixed(&flags.to_ne_bytes());
        message.fixed(&[0; 8]);
        message
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.nested(kind, |inside| {
            inside.fixed(text.as_bytes());
            inside.fixed(&[0]);
        });
    }

    fn bytes(&mut self, kind: u16, bytes: &[u8]) {
        self.nested(kind, |inside| inside.fixed(bytes));
    }

    /// struct rtattr: length, type; what follows begins at a multiple of four bytes.
    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.fixed(&0_u16.to_ne_bytes());
        self.fixed(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or_default();
        self.put(start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn done(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or_default();
        self.put(0, &length.to_ne_bytes());
        self.0
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use super::*;

    #[test]
    fn an_attribute_has_its_length_and_is_padded() {
        let mut message = Message(Vec::new());
        message.text(3, "eth0");
        let mut expected = 9_u16.to_ne_bytes().to_vec();
        expected.extend(3_u16.to_ne_bytes());
        expected.extend(b"eth0\0\0\0\0");
        assert_eq!(message.0, expected);
    }

    #[test]
    fn requests_say_how_long_they_are_and_only_the_last_asks_for_an_answer() {
        let wanted = Attachment {
            netns: Path::new("/run/netns/c1"),
            bridge: 7,
            index: 2_000_000,
            address: Ipv4Addr::new(10, 0, 0, 2),
            prefix: 16,
            gateway: Ipv4Addr::new(10, 0, 0, 1),
        };
        let mut rest = &*container(&wanted);
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            let number = |at: usize| u16::from_ne_bytes(rest[at..at + 2].try_into().unwrap());
            let acknowledged = i32::from(number(6)) & libc::NLM_F_ACK != 0;
            found.push((number(4), acknowledged));
            rest = &rest[length..];
        }
        let expected = [
            (libc::RTM_NEWLINK, false),
            (libc::RTM_NEWADDR, false),
            (libc::RTM_NEWROUTE, true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn errors_are_told_from_acknowledgements_and_from_the_rest() {
        let answer = |kind: i32, code: i32| {
            let mut bytes = vec![0; 16];
            bytes[4..6].copy_from_slice(&u16::try_from(kind).unwrap().to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert_eq!(errno(&answer(libc::NLMSG_ERROR, 0)), Some(0));
        assert_eq!(errno(&answer(libc::NLMSG_ERROR, -17)), Some(17));
        assert_eq!(errno(&answer(i32::from(libc::RTM_NEWLINK), 0)), None);
        assert_eq!(errno(&[]), None);
    }
}
