//! The `engine` backend: Docker Engine joins its own container to its own network.
//!
//! Docker is the controller here. What is left to do is to ask it, to give the link that it makes
//! the name that CNI wants, and to remember what was asked for: only that is ever taken back.

mod add;
mod check;
mod collect;
mod container;
mod endpoint;
mod error;
mod joined;
mod link;
mod mend;
mod network;
mod record;
mod remove;
mod result;

use cni_cnm::engine::{Engine, EngineError, locate};
use cni_cnm::http::Patience;

pub(crate) use self::add::add;
pub(crate) use self::check::check;
pub(crate) use self::collect::{collect, status};
pub(crate) use self::mend::{connections, forget_seen, ping, remove_seen};
pub(crate) use self::record::{Connection, Stage};
pub(crate) use self::remove::remove;
use crate::config::Settings;

/// The Engine that a config names, or the environment, or else the one where Docker usually is.
fn open(settings: &Settings, patience: Patience) -> Result<Engine, EngineError> {
    open_at(settings.engine_socket.as_deref(), patience)
}

fn open_at(address: Option<&str>, patience: Patience) -> Result<Engine, EngineError> {
    let address = locate(address, |name| std::env::var(name).ok())?;
    Engine::new(address, patience)
}
