//! Does what the plan says, one part of the host or the container in each module, and registers
//! how each step is taken back.

pub(crate) mod bridge;
pub(crate) mod container;
pub(crate) mod filter;
pub(crate) mod gateway;
pub(crate) mod shared;
pub(crate) mod veth;
