//! The firewall against the real kernel, in network namespaces that each test makes for itself.
//!
//! Needs root, iproute2, nftables, iptables and the reference plugins
//! (`apt-get install nftables iptables containernetworking-plugins`). What is missing fails the
//! tests; nothing is skipped.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is a test; clippy knows only the functions marked as such"
)]

mod foreign;
mod forward;
mod hostports;
mod iptables;
mod isolation;
mod masquerade;
mod portmap;
mod portmap_traffic;
mod race;
mod reference;
mod spoofcheck;
mod support;
mod traffic;
