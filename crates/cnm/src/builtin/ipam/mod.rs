//! The IPAM drivers `default` and `null`.
//!
//! ```text
//! <directory>/                            0700
//!     lock                                there while somebody requests or releases a pool
//!     LocalDefault_10.1.0.0_16.json       0600  a pool, and how often it has been requested
//!     LocalDefault_10.1.0.0_16/           its addresses, as `cni_ipam::LeaseStore` keeps them:
//!         10.1.0.1                        0600  gateway CR LF pool
//!         10.1.0.2                        0600  name of its owner CR LF endpoint
//! ```
//!
//! An address is a file, so that a request costs the same with one address given as with sixty
//! thousand. Other than `host-local`'s, these files are on the disk before an address is given: what
//! is released by its address alone must be there, or the release hits whoever has been given the
//! same one after a power loss.

mod address;
mod choose;
mod default;
mod error;
mod host;
mod null;
mod pool;
mod predefined;
mod records;

pub use default::DefaultIpam;
pub use null::NullIpam;
