//! Waiting for the kernel to announce what is wanted. Never a sleep, always a deadline.
//!
//! Each wait subscribes first and looks second, so that nothing announced in between is lost. What
//! the subscription itself loses (`ENOBUFS`) is made up for by looking again.

use std::time::Instant;

use nix::libc;

use crate::address::Address;
use crate::error::{Cause, NetlinkError, Op};
use crate::frame::{Frame, u32_at};
use crate::link::{Link, LinkId, OperState};
use crate::socket::{Socket, is_overrun};

/// `RTNLGRP_LINK`.
pub(crate) const LINKS: u32 = 1;
/// `RTNLGRP_IPV6_IFADDR`.
const IPV6_ADDRESSES: u32 = 9;

impl Socket {
    /// Waits until the link is as `wanted` says and returns it.
    ///
    /// # Errors
    /// The deadline passes, or the link is deleted.
    pub fn wait_link(
        &self,
        link: &LinkId,
        deadline: Instant,
        wanted: impl Fn(&Link) -> bool,
    ) -> Result<Link, NetlinkError> {
        let look = || match self.find_link_by_index(link.index)? {
            Some(now) => Ok(wanted(&now).then_some(now)),
            None => Err(failed(Op::WaitForLink, link, Cause::refused(libc::ENODEV))),
        };
        self.wait((Op::WaitForLink, LINKS), link, deadline, look)
    }

    /// Waits until the link can carry packets (`IF_OPER_UP`).
    ///
    /// # Errors
    /// The deadline passes, or the link is deleted.
    pub fn wait_operstate_up(
        &self,
        link: &LinkId,
        deadline: Instant,
    ) -> Result<Link, NetlinkError> {
        self.wait_link(link, deadline, |now| now.operstate == OperState::Up)
    }

    /// Waits until there is no link with that index.
    ///
    /// # Errors
    /// The deadline passes.
    pub fn wait_gone(&self, link: &LinkId, deadline: Instant) -> Result<(), NetlinkError> {
        let look = || {
            let now = self.find_link_by_index(link.index)?;
            Ok(now.is_none().then_some(()))
        };
        self.wait((Op::WaitForLink, LINKS), link, deadline, look)
    }

    /// Waits until no IPv6 address of the link is tentative, and returns its addresses.
    ///
    /// # Errors
    /// Another owner of an address was found ([`Cause::Duplicate`]), or the deadline passes.
    pub fn wait_dad_done(
        &self,
        link: &LinkId,
        deadline: Instant,
    ) -> Result<Vec<Address>, NetlinkError> {
        let op = Op::WaitForAddress;
        let look = || {
            let all = self.addresses(Some(link))?;
            if let Some(taken) = all.iter().find(|one| one.is_duplicate()) {
                let subject = format!("{} dev {link}", taken.cidr);
                return Err(failed(op, &subject, Cause::Duplicate));
            }
            Ok((!all.iter().any(Address::is_tentative)).then_some(all))
        };
        self.wait((op, IPV6_ADDRESSES), link, deadline, look)
    }

    /// Looks at every announcement about the link, until there is something to return.
    fn wait<T>(
        &self,
        (op, group): (Op, u32),
        link: &LinkId,
        deadline: Instant,
        look: impl Fn() -> Result<Option<T>, NetlinkError>,
    ) -> Result<T, NetlinkError> {
        if let Some(found) = look()? {
            return Ok(found); // mostly so, and then it costs no subscription
        }
        let events = self
            .subscribe(group)
            .map_err(|cause| failed(Op::Subscribe, link, cause))?;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            events
                .next_event(link.index, deadline)
                .map_err(|cause| failed(op, link, cause))?;
        }
    }

    /// Returns at an announcement about the link with that index, or if one may have been lost.
    fn next_event(&self, index: u32, deadline: Instant) -> Result<(), Cause> {
        let mut seen = false;
        while !seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Cause::Timeout);
            }
            self.set_timeout(left).map_err(Cause::io)?;
            let received = self.receive(|frame| {
                seen |= is_about(frame, index);
                Ok(())
            });
            match received {
                Err(cause) if is_overrun(&cause) => seen = true,
                other => other?,
            }
        }
        Ok(())
    }
}

/// Links and addresses both have the interface index at the same place.
fn is_about(frame: Frame<'_>, index: u32) -> bool {
    matches!(
        frame.kind,
        libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR
    ) && u32_at(frame.payload, 4) == Some(index)
}

fn failed(op: Op, subject: &impl ToString, cause: Cause) -> NetlinkError {
    NetlinkError {
        op,
        subject: subject.to_string(),
        cause,
    }
}
