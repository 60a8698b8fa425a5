//! The Container Network Model, as Docker's libnetwork has it, without Docker.
//!
//! In this model a *sandbox* is a container's network namespace, an *endpoint* joins it to a
//! *network*, a network is made by a *driver* and gets its addresses from an *IPAM driver*; a
//! *controller* calls both in a certain order and puts the interface into the sandbox. Drivers are
//! built in or programs that serve HTTP.
//!
//! - [`builtin`][]: the drivers that are built in.
//! - [`controller`][]: what calls them, and in which order.
//! - [`discovery`][]: where drivers listen.
//! - [`driver`][]: the two driver interfaces, as traits.
//! - [`remote`][]: drivers that are programs.
//! - [`engine`][]: Docker Engine itself, as another way to networks.
//! - [`wire`][]: what goes over HTTP, in both directions.
//! - [`http`][]: how programs are talked to.
//! - [`ids`][]: how networks and endpoints are identified.
//! - [`sandbox`][]: moving links into namespaces and out of them.
//! - [`store`][]: what is remembered of them.
//!
//! Whoever calls a driver says by when it has to answer; nothing here waits longer.

pub mod builtin;
pub mod controller;
pub mod discovery;
pub mod driver;
pub mod engine;
mod error;
pub mod http;
pub mod ids;
pub mod remote;
pub mod sandbox;
pub mod store;
pub mod wire;

pub use driver::{IpamDriver, NetworkDriver};
pub use error::{Cause, DriverError, Method};
pub use ids::{EndpointId, NetworkId};
