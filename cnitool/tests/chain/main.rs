//! Chains of plugins, played by shell scripts that write down how they were called.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests report by panicking"
)]

mod add;
mod del;
mod fakes;
mod whole_network;
