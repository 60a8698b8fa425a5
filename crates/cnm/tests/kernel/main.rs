//! The drivers that are built in, against the real kernel, on machines that each test makes for
//! itself.
//!
//! Needs root, iproute2, iputils-ping and nftables. What is missing fails the tests; nothing is
//! skipped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "everything here is a test; clippy knows only the functions marked as such"
)]

mod bridge;
mod foreign;
mod ipam;
mod ports;
mod rename;
mod sandbox;
mod support;
mod traffic;
