//! `host-local`: hands out addresses of configured ranges and keeps the leases in files.

mod apply;
mod check;
mod config;
mod plugin;
mod resolv;

fn main() -> std::process::ExitCode {
    cni_plugin::main(&plugin::HostLocal)
}
