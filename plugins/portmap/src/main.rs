//! The `portmap` plugin: leads ports of the host to a container. Chained: the plugin before it has
//! made the container's interface.

#![cfg_attr(not(test), no_main)]

mod add;
mod check;
mod collect;
mod config;
mod error;
mod loopback;
mod plan;
mod remove;

use cni_firewall::{Nft, iptables};
use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

use config::{Backend, PortmapConfig};

struct Portmap;

impl Plugin for Portmap {
    const INFO: PluginInfo = PluginInfo {
        name: "portmap",
        version: env!("CARGO_PKG_VERSION"),
        supported: SpecVersion::ALL,
    };

    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        add::add(request, undo)
    }

    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        remove::remove(request)
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        check::check(request)
    }

    fn gc(&self, request: &GcRequest) -> Result<(), CniError> {
        collect::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = PortmapConfig::load(request)?;
        let mut nft = Nft::open()?;
        let usable = match config.backend {
            Backend::Nftables { .. } => nft.probe(),
            Backend::Iptables { .. } => iptables::probe(&nft),
        };
        usable.map_err(CniError::not_available)
    }
}

cni_plugin::entry!(Portmap);
