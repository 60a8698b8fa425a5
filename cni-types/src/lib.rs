//! The Container Network Interface contract, and nothing else.
//!
//! `CNI_*` variables and a JSON document come in, a result or an error goes out. This crate is
//! pure: it never talks to the kernel and never opens a file, so all of it is tested without root.
//! Everything follows the [CNI specification] 1.1.0 and, where the specification is silent, Go's
//! `encoding/json`, which is what the reference plugins' users have been relying on.
//!
//! [CNI specification]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md

pub mod args;
mod cidr;
pub mod config;
mod env;
mod error;
mod json;
mod mac;
mod names;
mod result;
mod version;

pub use args::{ArgsError, CniArgs};
pub use cidr::{CidrError, IpCidr};
pub use env::{Command, Environment, FastPaths, Names};
pub use error::{CniError, ErrorCode, ToCniError};
pub use json::{Json, JsonError};
pub use mac::{MacAddr, MacError};
pub use names::{Attachment, ContainerId, IfName, NameError, NetworkName};
pub use result::{CniResult, Dns, Interface, IpConfig, ResultError, Route};
pub use version::{SpecVersion, UnsupportedVersion, parse_numbers};

/// JSON as the reference prints it: indented by four spaces, no newline at the end.
///
/// # Errors
/// The value cannot be JSON: a map with keys that are not strings, or a failing `Serialize`.
pub fn pretty(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    let mut text = Vec::with_capacity(1024);
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, indent,
    ))?;
    // serde_json writes UTF-8 only.
    Ok(String::from_utf8_lossy(&text).into_owned())
}
