//! SCTP by hand: kernels without the protocol translate its packets all the same.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use cni_testkit::Netns;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, SockaddrIn, SockaddrIn6, recv, sendto, setsockopt, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// A raw socket for SCTP.
#[derive(Debug)]
pub struct Sctp {
    socket: OwnedFd,
    v6: bool,
}

const HEADER: usize = 12;

impl Sctp {
    /// In a namespace, for packets of one family.
    pub fn new(netns: &Netns, v6: bool) -> Self {
        let socket = netns.run(|| raw_socket(v6));
        let timeout = TimeVal::milliseconds(i64::try_from(SHORTLY.as_millis()).unwrap());
        setsockopt(&socket, ReceiveTimeout, &timeout).unwrap();
        Self { socket, v6 }
    }

    /// Sends the first packet of an association.
    pub fn send(&self, to: IpAddr, port: u16) {
        let packet = init(4000, port);
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let sent = match to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(socket, &packet, &to, flags)
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                sendto(socket, &packet, &to, flags)
            }
        };
        assert_eq!(sent, Ok(packet.len()));
    }

    /// The destination port of the next packet, if one comes.
    pub fn received_port(&self) -> Option<u16> {
        let mut packet = [0; 256];
        let length = recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()).ok()?;
        // Of IPv4, a raw socket gets the IP header, too.
        let at = if self.v6 {
            0
        } else {
            usize::from(packet[0] & 0xf) * 4
        };
        let header = packet.get(..length)?.get(at..at + HEADER)?;
        Some(u16::from_be_bytes([header[2], header[3]]))
    }
}

const SHORTLY: Duration = Duration::from_millis(500);

#[expect(unsafe_code, reason = "nix has no name for this protocol")]
fn raw_socket(v6: bool) -> OwnedFd {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: socket(2) takes no pointer; what it returns is a descriptor of our own, or -1.
    unsafe {
        let descriptor = libc::socket(
            family,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::IPPROTO_SCTP,
        );
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(descriptor)
    }
}

/// A common header and an INIT chunk (RFC 9260, sections 3.1 and 3.3.2).
fn init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0; 8]); // verification tag, and the checksum that comes last
    packet.extend([1, 0, 0, 20]); // INIT, 20 bytes
    packet.extend(0x1234_5678_u32.to_be_bytes()); // initiate tag
    packet.extend(65_536_u32.to_be_bytes()); // receiver window
    packet.extend([0, 1, 0, 1]); // streams
    packet.extend(1_u32.to_be_bytes()); // initial sequence number
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..HEADER].copy_from_slice(&checksum);
    packet
}

/// `CRC32c`, reflected, as appendix A of RFC 9260 has it.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _bit in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (POLYNOMIAL * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
