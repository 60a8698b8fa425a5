//! What several attachments share: the bridge, its addresses, the host's forwarding.
//!
//! An ADD that made one of these and then fails takes it back, but only while nobody else can have
//! come to rely on it. So every ADD holds a shared lock on the host's namespace while it runs, and
//! takes shared things back only if it can get the lock for itself alone and the bridge has no
//! port. Nobody ever waits for this lock: who cannot have it leaves things as they are, which
//! harms nobody.
//!
//! The lock is flock(2) on the namespace's file itself: it needs no directory and leaves no file.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;

use cni_local::meeting::{Meeting, meet};
use cni_netlink::{LinkId, NetNs, Socket};
use cni_types::Attachment;

use crate::error::BridgeError;
use crate::owner;

/// An ADD's claim on what it shares with others.
#[derive(Debug)]
pub(crate) struct SharedUse {
    lock: Option<File>,
    /// The indexes of the ports that this ADD has made.
    own_ports: RefCell<Vec<u32>>,
}

impl SharedUse {
    /// Begins to use what is shared in a namespace.
    pub(crate) fn begin(home: &NetNs) -> Self {
        let file = home.as_fd().try_clone_to_owned().ok().map(File::from);
        Self {
            lock: file.filter(|file| file.try_lock_shared().is_ok()),
            own_ports: RefCell::default(),
        }
    }

    /// A port that goes when the ADD fails, and so counts for nobody else.
    pub(crate) fn owns_port(&self, port: &LinkId) {
        self.own_ports.borrow_mut().push(port.index);
    }

    /// Whether no other ADD runs and no other attachment uses the bridge. From then on no other ADD
    /// can begin to rely on it unseen, until this process ends.
    pub(crate) fn is_ours_alone(&self, host: &Socket, bridge: &LinkId) -> bool {
        let alone = self
            .lock
            .as_ref()
            .is_some_and(|file| file.try_lock().is_ok());
        let own = self.own_ports.borrow();
        alone
            && host
                .bridge_ports(bridge)
                .is_ok_and(|ports| ports.iter().all(|port| own.contains(&port.index)))
    }
}

/// Keeps a second ADD of the same attachment away for as long as the returned value lives, so that
/// neither can take from the other what it takes back itself. Runtimes promise not to do this.
pub(crate) fn claim(attachment: &Attachment) -> Result<Option<UnixListener>, BridgeError> {
    match meet(&owner::claim_name(attachment)) {
        Meeting::First(claim) => Ok(Some(claim)),
        Meeting::Ours(_) => Err(BridgeError::AddUnderWay(attachment.clone())),
        // Who is not ours makes no claims; the promise holds all the same.
        Meeting::Nobody => Ok(None),
    }
}
