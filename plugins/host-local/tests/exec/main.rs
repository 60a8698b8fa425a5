//! The binary, called as a runtime calls it. The reference's, where it is installed
//! (`containernetworking-plugins`), is called beside it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, its fixture too"
)]

mod commands;
mod crash;
mod differential;
mod faults;
mod fixture;
mod mixed;
