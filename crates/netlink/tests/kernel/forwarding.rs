//! Forwarding, as the settings' files and the socket tell it.

use cni_netlink::{Protocol, sysctl};

use crate::Pair;

#[test]
fn the_socket_tells_what_the_files_say() {
    let pair = Pair::new();
    let files: [(Protocol, &[&str]); 2] = [
        (Protocol::Ipv4, &["net", "ipv4", "ip_forward"]),
        (
            Protocol::Ipv6,
            &["net", "ipv6", "conf", "all", "forwarding"],
        ),
    ];
    for (protocol, file) in files {
        for (value, forwards) in [("0", false), ("1", true), ("0", false)] {
            let write = || sysctl::write(file, value).unwrap();
            pair.host_ns.run(write).unwrap();
            assert_eq!(pair.host.forwards(protocol), Some(forwards), "{file:?}");
        }
    }
}
