//! One invocation, parsed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_types::config::{self, ValidAttachment};
use cni_types::{
    Attachment, CniError, CniResult, Environment, ErrorCode, Json, NetworkName, SpecVersion,
};
use serde::de::DeserializeOwned;

use crate::{Deadline, remark};

/// How long a delegate may take when the config does not say: shorter than the two minutes
/// after which kubelet gives up a sandbox, so that there is still time to undo and explain.
const DELEGATE_TIMEOUT: Duration = Duration::from_secs(50);

/// What every command has: the environment and the config.
#[derive(Debug, Clone)]
pub struct Request {
    /// The `CNI_*` variables.
    pub env: Environment,
    /// The config as it came, byte for byte, for delegates.
    pub stdin: Arc<[u8]>,
    /// The config, parsed.
    pub config: Json,
    /// The network's `name`.
    pub network: NetworkName,
    /// The config's `cniVersion`.
    pub version: SpecVersion,
    /// By when the reply is wanted, where a plugin runs this one in its own process. Otherwise whoever
    /// waits in vain kills the process.
    pub deadline: Option<Deadline>,
}

impl Request {
    /// Decodes the config into a plugin's own type.
    ///
    /// # Errors
    /// Code 6; the message names the path of the value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CniError> {
        self.config.decode().map_err(|error| {
            CniError::new(
                ErrorCode::DECODE,
                format!("failed to load netconf: {error}"),
            )
        })
    }

    /// The config's `prevResult`.
    ///
    /// # Errors
    /// Code 6.
    pub fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        config::prev_result(&self.config, self.version)
    }

    /// By when a delegate started now has to be done: `delegateTimeout` seconds of the config, or
    /// 50 s.
    #[must_use]
    pub fn delegate_deadline(&self) -> Deadline {
        let seconds = match self.config.get("delegateTimeout") {
            Some(Json::Number(number)) => number.as_u64().filter(|seconds| *seconds > 0),
            _ => None,
        };
        Deadline::after(seconds.map_or(DELEGATE_TIMEOUT, Duration::from_secs))
    }
}

/// ADD or CHECK.
#[derive(Debug, Clone)]
pub struct AttachmentRequest {
    /// What every command has.
    pub request: Request,
    /// Which attachment.
    pub attachment: Attachment,
    /// `CNI_NETNS`; nobody has opened it yet.
    pub netns: PathBuf,
    /// Device and inode of what is there, where it was found not to be our own namespace: whoever opens
    /// it later must see to it that it is the same.
    pub netns_id: Option<(u64, u64)>,
}

/// DEL.
#[derive(Debug, Clone)]
pub struct DelRequest {
    /// What every command has.
    pub request: Request,
    /// Which attachment.
    pub attachment: Attachment,
    /// `CNI_NETNS`, unless it was empty. The namespace may be gone.
    pub netns: Option<PathBuf>,
    /// As in [`AttachmentRequest::netns_id`].
    pub netns_id: Option<(u64, u64)>,
}

impl DelRequest {
    /// The `prevResult`, if there is one that can be read: DEL goes on without.
    #[must_use]
    pub fn prev_result(&self) -> Option<CniResult> {
        self.request.prev_result().unwrap_or_else(|error| {
            remark(format_args!("going on without prevResult: {error}"));
            None
        })
    }
}

/// GC.
#[derive(Debug, Clone)]
pub struct GcRequest {
    /// What every command has.
    pub request: Request,
    /// The attachments of the network to keep.
    pub valid: Vec<ValidAttachment>,
}

impl GcRequest {
    /// The attachments to keep, as far as their names are ones that an attachment can have.
    pub fn valid_attachments(&self) -> impl Iterator<Item = Attachment> {
        self.valid.iter().filter_map(|valid| {
            Some(Attachment {
                network: self.request.network.clone(),
                container_id: valid.container_id.parse().ok()?,
                ifname: valid.ifname.parse().ok()?,
            })
        })
    }
}

/// The directories of `CNI_PATH`.
pub(crate) fn search_path(env: &Environment) -> impl Iterator<Item = &Path> {
    env.path
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(Path::new)
}
