//! The `bridge` plugin: joins a container to a Linux bridge with a veth pair.

#![cfg_attr(not(test), no_main)]

mod add;
mod apply;
mod check;
mod collect;
mod config;
mod error;
mod ipam;
mod owner;
mod plan;
mod remove;

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, Command, SpecVersion};

struct Bridge;

impl Plugin for Bridge {
    const INFO: PluginInfo = PluginInfo {
        name: "bridge",
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
        let Some(ipam) = config::ipam_type(&request.config) else {
            return Ok(());
        };
        let delegate = ipam::find(request, ipam).map_err(CniError::not_available)?;
        delegate.run(Command::Status, request.delegate_deadline())
    }
}

cni_plugin::entry!(Bridge);
