//! What the suites of `tests/` share beyond the test kit: real container runtimes, made private.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    reason = "a test harness reports by panicking, and is called for that too"
)]

pub mod at_once;
pub mod cgroup;
pub mod chain;
pub mod cnitool;
pub mod cnm;
pub mod conflist;
pub mod containerd;
pub mod crash;
pub mod cri;
pub mod crowd;
pub mod differences;
pub mod dockerd;
pub mod earlier;
pub mod engine;
#[cfg(target_arch = "x86_64")]
pub mod faults;
pub mod filter_sockets;
pub mod firewalld;
pub mod fleet;
pub mod floor;
pub mod foreign;
pub mod holdings;
pub mod http;
pub mod image;
#[cfg(target_arch = "x86_64")]
pub mod inject;
pub mod jail;
pub mod limits;
pub mod machine;
pub mod network;
pub mod node;
pub mod podman;
pub mod ports;
pub mod ptrace;
pub mod published;
pub mod random;
pub mod reaper;
pub mod sctp;
pub mod shim;
pub mod stranger;
pub mod syscalls;
pub mod throughput;
pub mod traffic;
pub mod walk;
