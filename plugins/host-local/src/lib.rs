//! `host-local`: hands out addresses of configured ranges and keeps the leases in files.
//!
//! A library, so that a plugin which delegates to it can have it in its own binary.

mod apply;
mod check;
mod config;
#[doc(hidden)]
pub mod fuzzing;
mod plugin;
mod resolv;

use cni_plugin::linked::{Build, Linked};

pub use plugin::HostLocal;

/// A digest of all sources that this plugin is built from.
pub const BUILD: &Build = include_bytes!(concat!(env!("OUT_DIR"), "/build"));

/// The plugin, to be run in another one's process.
pub const LINKED: Linked =
    Linked::new::<HostLocal>(BUILD, |host| cni_plugin::run(&HostLocal, host));
