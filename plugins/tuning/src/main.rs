//! The `tuning` plugin: changes sysctls and properties of an interface that a plugin before it in
//! the chain has made.

mod add;
mod apply;
mod check;
mod collect;
mod config;
mod error;
mod plan;
mod remove;
mod state;

use std::process::ExitCode;

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

fn main() -> ExitCode {
    cni_plugin::main(&Tuning)
}
