//! The `tuning` plugin: changes sysctls and properties of an interface that a plugin before it in
//! the chain has made.

#![cfg_attr(not(test), no_main)]

mod add;
mod apply;
mod check;
mod collect;
mod config;
mod error;
mod plan;
mod remove;
mod state;

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, SpecVersion};

struct Tuning;

impl Plugin for Tuning {
    const INFO: PluginInfo = PluginInfo {
        name: "tuning",
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
        check::status(request)
    }
}

cni_plugin::entry!(Tuning);
