//! Deleting a link without waiting for the kernel to forget it.
//!
//! The request is left to a detached process, and what is waited for is the announcement that the
//! link is gone: docs/decisions/015-deleting-links.md. Whatever goes wrong here, the link is still
//! there afterwards, or it is not, and the plain way deals with what is.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use cni_local::detach::{Detached, detach};
use cni_netlink::{Change, Departures, LinkId, Socket, delete_group, delete_link, set_group};
use cni_plugin::Deadline;
use cni_types::FastPaths;

use super::commit::{Leader, Part, take_part};

/// How long is waited for the kernel, or for a leader, before the plain way is taken. A link takes 2
/// ms and every further one half of it, and all DELs of a node may come at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often another leader is looked for: each one that is followed deletes at least its own link.
const ROUNDS: usize = 1000;

/// Has the link deleted, alone or with those of other DELs, and does something else `meanwhile`.
///
/// Returns when the link is gone, or when it must be deleted the plain way.
pub(super) fn delete(host: &Socket, link: &LinkId, fast: FastPaths, meanwhile: impl FnOnce()) {
    let deletion = Deletion {
        host,
        link,
        fast,
        deadline: Deadline::after(PATIENCE),
    };
    if let Some(leader) = Leader::take_lead() {
        let request = deletion.request(&leader);
        deletion.run(&request, meanwhile);
    } else {
        meanwhile();
        deletion.join_others();
    }
}

struct Deletion<'a> {
    /// Speaks with the namespace of the link, which is this thread's.
    host: &'a Socket,
    link: &'a LinkId,
    fast: FastPaths,
    deadline: Deadline,
}

impl Deletion<'_> {
    /// Follows whoever leads, again and again until the link is gone, or takes the lead.
    fn join_others(&self) {
        for _round in 0..ROUNDS {
            if self.deadline.has_passed() || self.is_gone() {
                return;
            }
            match take_part() {
                Part::Lead(leader) => return self.lead_others(&leader),
                Part::Alone => return self.run(&delete_link(self.link), || {}),
                Part::Follow(leader) => {
                    // Where the leader is lost or says nothing, there is another round.
                    let _outcome = leader.follow(self.deadline, |group| self.join(group));
                }
            }
        }
    }

    /// Leads where others are known to be about. They are about to follow as well: the request for the
    /// group needs the RTNL lock, and gives them the time while the deletion before is under way.
    fn lead_others(&self, leader: &Leader) {
        let _also_tried_later = self.join(leader.group());
        self.run(&self.request(leader), || {});
    }

    /// What is asked of the kernel: the group, if somebody follows. The followers hear that it is over
    /// when `leader` is dropped.
    fn request(&self, leader: &Leader) -> Change {
        let together = leader.gather() > 0 || self.fast == FastPaths::Always;
        if together && self.join(leader.group()) {
            delete_group(leader.group())
        } else {
            delete_link(self.link)
        }
    }

    fn join(&self, group: u32) -> bool {
        self.host.request(&set_group(self.link, group)).is_ok()
    }

    /// Has a child send the request, and returns when the link is gone, or will not go.
    fn run(&self, request: &Change, meanwhile: impl FnOnce()) {
        let started = start(request);
        meanwhile();
        if let Ok((departures, child)) = started {
            let deadline = self.deadline.instant();
            let _otherwise_plainly =
                departures.wait_gone(self.host, self.link, child.as_fd(), deadline);
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.host.has_link(self.link.index), Ok(false))
    }
}

/// Begins to listen, and then has a child send the request.
fn start(request: &Change) -> io::Result<(Departures, Detached)> {
    let departures = Departures::open().map_err(io::Error::other)?;
    let child = detach(|| {
        // A socket of its own: replies on a shared one could be taken by the other process.
        let _seen_by_the_parent = Socket::open().and_then(|own| own.request(request));
    })?;
    Ok((departures, child))
}
