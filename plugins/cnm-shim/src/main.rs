//! The `cnm-shim` plugin: joins CNI containers to networks of Docker's Container Network Model. With
//! arguments it is a command for people.

mod cli;
mod compare;
mod config;
mod driver;
mod drivers;
mod engine;
mod error;
mod interfaces;
mod report;

use std::process::ExitCode;

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Plugin, PluginInfo, Request, Undo};
use cni_types::{CniError, CniResult, Json, SpecVersion};

use crate::config::{Backend, Settings};

struct CnmShim;

fn settings(request: &Request) -> Settings {
    Settings::read(&request.config, &request.network)
}

impl Plugin for CnmShim {
    const INFO: PluginInfo = PluginInfo {
        name: "cnm-shim",
        version: env!("CARGO_PKG_VERSION"),
        supported: SpecVersion::ALL,
    };

    fn modernise(&self, config: &mut Json) {
        config::modernise(config);
    }

    fn add(&self, request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        let settings = settings(&request.request);
        match Backend::load(&request.request)? {
            Backend::Driver(config) => driver::add(request, &config, &settings, undo),
            Backend::Engine(config) => engine::add(request, &config, &settings, undo),
        }
    }

    /// By what is remembered, not by what the config says now.
    fn del(&self, request: &DelRequest) -> Result<(), CniError> {
        let settings = settings(&request.request);
        let outcomes = [
            engine::remove(request, &settings),
            driver::remove(request, &settings),
        ];
        CniError::collect(outcomes.into_iter().filter_map(Result::err))
    }

    fn check(&self, request: &AttachmentRequest) -> Result<(), CniError> {
        let settings = settings(&request.request);
        match Backend::load(&request.request)? {
            Backend::Driver(config) => driver::check(request, &config, &settings),
            Backend::Engine(config) => engine::check(request, &config, &settings),
        }
    }

    fn gc(&self, request: &GcRequest) -> Result<(), CniError> {
        let settings = settings(&request.request);
        let outcomes = [
            engine::collect(request, &settings),
            driver::collect(request, &settings),
        ];
        CniError::collect(outcomes.into_iter().filter_map(Result::err))
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let settings = settings(request);
        match Backend::load(request)? {
            Backend::Driver(config) => driver::status(request, &config, &settings),
            Backend::Engine(config) => engine::status(request, &config, &settings),
        }
    }
}

fn main() -> ExitCode {
    if cli::is_meant() {
        return cli::main();
    }
    cni_plugin::main(&CnmShim)
}
