//! Sandboxes: network namespaces, and the links that are moved into and out of them.
//!
//! Drivers leave a link in the host's namespace and say what is to become of it ([`plan`]); moving
//! and configuring it is the controller's business. [`Sandboxes`] is the seam for tests without a
//! kernel, [`Kernel`] the real thing.

mod kernel;
pub mod key;
pub mod plan;
pub mod rename;
mod site;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni_netlink::{NetNsError, NetNsSocketError, NetlinkError, sysctl::SysctlError};
use cni_types::{ErrorCode, IfName, IpCidr, ToCniError};

pub use self::kernel::Kernel;
use self::plan::Placement;
use crate::store::record::{LinkRecord, SandboxRecord};

/// Something in a sandbox did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The driver named a link that the host does not have.
    #[error("the driver's link {0} is not in the host's namespace")]
    NoSuchLink(IfName),
    /// The driver's link is one that the host needs.
    #[error("link {0} is at work on the host: a port of another link, or its way out")]
    AtWork(IfName),
    /// The sandbox has an interface of that name.
    #[error("container interface name provided ({0}) already exists")]
    NameTaken(IfName),
    /// The name that a link had in the host's namespace is taken there.
    #[error("cannot give link {name} back: the host has a link {src_name} already")]
    WayBackTaken {
        /// Its name in the sandbox.
        name: String,
        /// Its name in the host's namespace.
        src_name: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The namespace gives no socket.
    #[error(transparent)]
    Socket(#[from] NetNsSocketError),
    /// A setting cannot be written.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The namespace cannot be examined, or its path for drivers not be made.
    #[error("failed to {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ToCniError for SandboxError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchLink(_) | Self::AtWork(_) => ErrorCode::DRIVER,
            Self::NameTaken(_) | Self::WayBackTaken { .. } => ErrorCode::IN_USE,
            Self::Netlink(error) => error.code(),
            Self::NetNs(error) => error.code(),
            Self::Socket(error) => error.code(),
            Self::Sysctl(error) => error.code(),
            Self::Io { .. } => ErrorCode::IO,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NoSuchLink(_) => Some(
                "does the driver work in the host's network namespace, and not in a container?",
            ),
            Self::AtWork(_) => {
                Some("the driver wants it moved into the container: is it mistaken?")
            }
            Self::NameTaken(_) => Some(
                "an earlier ADD may have been left without a DEL; a DEL for this container removes it",
            ),
            Self::Netlink(error) => error.hint(),
            Self::NetNs(error) => error.hint(),
            Self::Socket(error) => error.hint(),
            Self::Sysctl(error) => error.hint(),
            _ => None,
        }
    }
}

impl SandboxRecord {
    /// Sees to it that this is the namespace that was meant, by device and inode, if one was.
    ///
    /// # Errors
    /// It is another one: the path has come to lead elsewhere.
    pub fn only(&self, meant: Option<(u64, u64)>) -> Result<(), SandboxError> {
        if meant.is_none_or(|meant| meant == (self.dev, self.inode)) {
            return Ok(());
        }
        let path = self.path.clone();
        Err(NetNsError::Changed { path }.into())
    }
}

/// A link as it is in a sandbox now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What is needed to take it out again.
    pub link: LinkRecord,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The other end, if it is a veth pair and that end is in the host's namespace.
    pub host_end: Option<HostEnd>,
    /// The routes that it got: destinations with their routers.
    pub routes: Vec<(IpCidr, Option<IpAddr>)>,
}

/// The host's end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// The name and the hardware address of the bridge that it is a port of.
    pub bridge: Option<(String, String)>,
}

/// What became of a link that was to go back to the host's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOut {
    /// It was not there (any more).
    Gone,
    /// It is in the host's namespace under its old name, down; its index there.
    Moved(u32),
}

/// What became of a link that was not to be in a sandbox any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftInside {
    /// It was not there.
    Nothing,
    /// It is gone.
    Deleted,
    /// It is hardware, which stays; its name.
    Kept(String),
}

/// An interface in a sandbox, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is up.
    pub up: bool,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<IpCidr>,
    /// Its routes in the main table: destinations with their routers.
    pub routes: Vec<(IpCidr, Option<IpAddr>)>,
    /// The other end, if it is a veth pair and that end is in the host's namespace.
    pub host_end: Option<HostEnd>,
}

/// What a controller does with sandboxes. The host's namespace is the calling thread's.
pub trait Sandboxes {
    /// Which namespace a path leads to.
    ///
    /// # Errors
    /// To none.
    fn identify(&self, path: &Path) -> Result<SandboxRecord, SandboxError>;

    /// Makes another path lead to a sandbox, for drivers that take no other. It may be there
    /// already.
    ///
    /// # Errors
    /// It leads somewhere else, or the file system refuses.
    fn make_key(&self, key: &Path, path: &Path) -> Result<(), SandboxError>;

    /// Removes such a path. One that is not ours stays.
    ///
    /// # Errors
    /// The file system refuses.
    fn remove_key(&self, key: &Path) -> Result<(), SandboxError>;

    /// Whether the sandbox has no interface of that name.
    ///
    /// # Errors
    /// It cannot be entered.
    fn is_free(&self, path: &Path, name: &IfName) -> Result<bool, SandboxError>;

    /// Whether a link of the host's namespace is at work there, so that no driver can have made it for
    /// an endpoint: it is a port of another one, or a way out of the host.
    ///
    /// # Errors
    /// The kernel does not answer.
    fn is_at_work(&self, src_name: &IfName) -> Result<bool, SandboxError>;

    /// Moves a link into a sandbox and configures it. After a failure it may be on either side;
    /// [`take_out`](Self::take_out) finds it.
    ///
    /// # Errors
    /// The kernel refused something.
    fn place(&self, sandbox: &SandboxRecord, placement: &Placement)
    -> Result<Placed, SandboxError>;

    /// Moves a link back to the host's namespace, under the name it came with. A sandbox that is
    /// gone, or is another one by now, has no link of ours.
    ///
    /// # Errors
    /// The kernel refused something.
    fn take_out(
        &self,
        sandbox: &SandboxRecord,
        link: &LinkRecord,
    ) -> Result<TakenOut, SandboxError>;

    /// Deletes a link of the host's namespace that its driver has forgotten, if it is one that a
    /// driver makes. One that is gone, or is another one by now, is fine.
    ///
    /// # Errors
    /// The kernel refused.
    fn discard(&self, index: u32, name: &str) -> Result<(), SandboxError>;

    /// The same for a link whose index nobody knows any more.
    ///
    /// # Errors
    /// The kernel refused.
    fn discard_named(&self, name: &str) -> Result<(), SandboxError>;

    /// Whether the host's namespace has a link of that name.
    fn is_on_host(&self, name: &str) -> bool;

    /// The interface of that name in a sandbox.
    ///
    /// # Errors
    /// The sandbox is gone, or the kernel does not answer.
    fn look(&self, path: &Path, name: &IfName) -> Result<Option<Seen>, SandboxError>;
}
