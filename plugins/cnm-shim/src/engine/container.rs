//! Which container is meant, and whether it can be joined.

use std::path::Path;

use cni_cnm::engine::{Container, Engine};
use cni_cnm::sandbox::{Kernel, Sandboxes};
use cni_cnm::store::record::SandboxRecord;
use cni_types::CniError;
use std::time::Instant;

use super::error::JoinError;

/// Docker's network that is none.
pub(super) const NONE: &str = "none";

/// Docker's container of that id or name.
pub(super) fn find(
    engine: &Engine,
    container: &str,
    deadline: Instant,
) -> Result<Container, CniError> {
    match engine.inspect_container(container, deadline) {
        Err(source) if source.is_not_found() => Err(JoinError::UnknownContainer {
            container: container.to_owned(),
            source,
        }
        .into()),
        found => Ok(found?),
    }
}

/// How people know it.
pub(super) fn name(container: &Container) -> String {
    container.name.trim_start_matches('/').to_owned()
}

/// The networks that a running container is connected to, `but_for` one. Of a connection that has
/// failed Docker keeps a note, which looks like one that was made.
pub(super) fn connected<'a>(
    container: &'a Container,
    but_for: &'a str,
) -> impl Iterator<Item = &'a str> {
    let all = container.network_settings.networks.iter();
    let real = all.filter(|(_, endpoint)| !endpoint.endpoint_id.is_empty());
    real.map(|(name, _)| name.as_str())
        .filter(move |name| *name != but_for)
}

/// Whether the container is on `none`, beside which there can be no other network.
pub(super) fn is_on_none(container: &Container) -> bool {
    connected(container, "").any(|on| on == NONE)
}

/// Whether the container is on `none`, or began there: it goes back when it is on nothing else.
pub(super) fn belongs_on_none(container: &Container) -> bool {
    container.host_config.network_mode == NONE || is_on_none(container)
}

/// Docker would refuse, or only make a note of it.
pub(super) fn require_joinable(container: &Container) -> Result<(), JoinError> {
    let mode = &container.host_config.network_mode;
    if mode == "host" || mode.starts_with("container:") {
        return Err(JoinError::Mode {
            container: name(container),
            mode: mode.clone(),
        });
    }
    if !container.state.running || container.state.pid <= 0 {
        return Err(JoinError::NotRunning {
            container: name(container),
            status: container.state.status.clone(),
        });
    }
    Ok(())
}

/// The namespace that the runtime has named must be the container's: Docker puts the link into that.
pub(super) fn require_namespace(
    container: &Container,
    netns: &Path,
) -> Result<SandboxRecord, CniError> {
    let named = Kernel.identify(netns)?;
    let pid = container.state.pid;
    let other = || JoinError::OtherNamespace {
        netns: netns.display().to_string(),
        container: name(container),
        pid,
    };
    // A process that is gone, or in another process namespace than ours, has no such file.
    let own = Kernel.identify(Path::new(&format!("/proc/{pid}/ns/net")));
    let own = own.map_err(|why| CniError::from(other()).and(why))?;
    if (own.dev, own.inode) != (named.dev, named.inode) {
        return Err(other().into());
    }
    Ok(SandboxRecord {
        key: container.network_settings.sandbox_key.clone().into(),
        ..named
    })
}

#[cfg(test)]
mod tests {
    use cni_types::ToCniError;

    use super::*;

    fn container(mode: &str, status: &str, pid: i32) -> Container {
        let mut container = Container {
            name: "/c1".into(),
            ..Container::default()
        };
        container.host_config.network_mode = mode.into();
        container.state.status = status.into();
        container.state.running = pid > 0 || status == "restarting";
        container.state.pid = pid;
        container
    }

    #[test]
    fn a_container_goes_back_to_where_it_began() {
        let endpoint = |id: &str| cni_cnm::engine::Endpoint {
            endpoint_id: id.into(),
            ..cni_cnm::engine::Endpoint::default()
        };
        for (mode, networks, back) in [
            ("none", &[("none", "e")][..], true),
            ("red", &[("none", "e")], true),
            ("none", &[("red", "e")], true),
            ("none", &[], true),
            ("red", &[("red", "e")], false),
            ("red", &[("none", "")], false),
        ] {
            let mut container = container(mode, "running", 5);
            let networks = networks.iter();
            container.network_settings.networks = networks
                .map(|(name, id)| ((*name).to_owned(), endpoint(id)))
                .collect();
            assert_eq!(belongs_on_none(&container), back, "{container:?}");
        }
    }

    #[test]
    fn only_a_running_container_with_a_network_of_its_own_is_joined() {
        for (mode, status, pid, code) in [
            ("none", "running", 5, None),
            ("red", "paused", 5, None),
            ("default", "running", 5, None),
            ("none", "exited", 0, Some(11)),
            ("none", "restarting", 0, Some(11)),
            ("host", "running", 5, Some(140)),
            ("container:abc", "exited", 0, Some(140)),
        ] {
            let outcome = require_joinable(&container(mode, status, pid));
            let found = outcome.as_ref().err().map(|error| error.code().0);
            assert_eq!(found, code, "{mode} {status}");
        }
        let error = require_joinable(&container("none", "exited", 0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "container c1 does not run: Docker says that it is \"exited\""
        );
    }
}
