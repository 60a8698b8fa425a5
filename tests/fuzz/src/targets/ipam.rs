//! Lease files and their index.

use std::net::{IpAddr, Ipv4Addr};

use cni_ipam::fuzzing;
use cni_types::Attachment;

use crate::request::attachment;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 5));

pub(super) fn lease_file(bytes: &[u8]) {
    fuzzing::lease(bytes, ADDRESS, &attachment());
    // Whoever the file speaks of, if that is anybody.
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut words = text.split_whitespace();
    let (container_id, ifname) = (words.next(), words.next().unwrap_or("eth0"));
    if let (Some(Ok(container_id)), Ok(ifname)) = (container_id.map(str::parse), ifname.parse()) {
        let attachment = Attachment {
            container_id,
            ifname,
            ..attachment()
        };
        fuzzing::lease(bytes, ADDRESS, &attachment);
    }
}

pub(super) fn lease_index(bytes: &[u8]) {
    fuzzing::index(bytes, ADDRESS, &attachment());
}
