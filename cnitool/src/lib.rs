//! The runtime's side of the CNI specification: what loads network configurations, runs chains of
//! plugins, keeps their results and cleans up.
//!
//! [`Catalog`] reads a configuration directory, a [`Network`] is one configuration out of it, a
//! [`Target`] is the interface of a container that an operation is about, and a [`Runtime`] runs
//! the operations. Files, environment and cache are those of libcni, so that either side can take
//! over what the other has made.
//!
//! ```no_run
//! use cnitool::{Catalog, Runtime, Target};
//!
//! let catalog = Catalog::read("/etc/cni/net.d")?;
//! let network = catalog.find("pods")?;
//! let target = Target::for_netns("/run/netns/c1", "eth0".parse()?);
//! let runtime = Runtime::new(["/opt/cni/bin"]);
//! let added = runtime.add(network, &target)?;
//! println!("{}", added.to_text()?);
//! runtime.del(network, &target)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod catalog;
mod error;
mod invoke;
pub mod netns;
mod network;
mod request;
mod runtime;
mod target;

pub use cache::{Cache, CacheEntry, CacheError};
pub use catalog::{Catalog, CatalogError, FileError};
pub use cni_plugin::exec::ExecError;
pub use error::{ErrorList, RuntimeError, Undo, chain};
pub use invoke::{Invoker, PluginCause, PluginError};
pub use network::{ConfigError, Network, Plugin};
pub use runtime::{Added, Checked, Collected, PluginVersions, Runtime, Status};
pub use target::{Target, absolute};
