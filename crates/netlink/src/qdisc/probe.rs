//! What the kernel can do, asked for without doing it.
//!
//! Nothing lists the kinds of link and qdisc that a kernel knows. So it is asked to make one of the
//! kind in a way that the kind itself has to refuse: a kernel that does not know the kind says so
//! instead. As for a real one, it loads the module that has it.

use std::fmt;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::InfoKind;
use netlink_packet_route::tc::{TcAttribute, TcHandle};
use nix::errno::Errno;
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::{CREATE, Hook, INGRESS, TBF, message};
use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::link::LinkId;
use crate::socket::Socket;

const TCA_STAB: u16 = 8;

/// The index of `lo`, in every namespace.
const LOOPBACK: u32 = 1;

/// A kind of thing that a kernel may have been built without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Links of kind `ifb`.
    Ifb,
    /// The token bucket filter.
    Tbf,
    /// The qdisc that filters of what is received are attached to.
    Ingress,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ifb => "link kind ifb",
            Self::Tbf => "qdisc tbf",
            Self::Ingress => "qdisc ingress",
        })
    }
}

impl Feature {
    fn refused(self) -> Change {
        match self {
            Self::Ifb => link(self),
            Self::Tbf => qdisc(self, Hook::Root, TBF),
            Self::Ingress => qdisc(self, Hook::Ingress, INGRESS),
        }
    }

    /// What a refusal tells; `None` is nothing.
    fn is_missing(self, refusal: Errno) -> Option<bool> {
        let (missing, there): (Errno, &[Errno]) = match self {
            // "Unknown device type", or refused by the kind itself.
            Self::Ifb => (Errno::EOPNOTSUPP, &[Errno::EADDRNOTAVAIL]),
            // "Specified qdisc kind is unknown", or refused by the kind itself; or `lo` has been
            // given a qdisc: then nothing is known, which is no reason for an alarm.
            Self::Tbf | Self::Ingress => (Errno::ENOENT, &[Errno::EINVAL, Errno::EEXIST]),
        };
        if refusal == missing {
            return Some(true);
        }
        there.contains(&refusal).then_some(false)
    }
}

/// No link may have a MAC address of zeros only.
fn link(feature: Feature) -> Change {
    let builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Ifb);
    let message = builder.address(vec![0; 6]).build();
    Change::new(
        Op::Probe,
        feature.to_string(),
        libc::RTM_NEWLINK,
        CREATE,
        &message,
    )
}

/// No qdisc may have a size table without parameters. All of them have been looked at before one is
/// put in place.
fn qdisc(feature: Feature, at: Hook, kind: &str) -> Change {
    let lo = LinkId::new(LOOPBACK, "lo");
    let mut message = message(&lo, TcHandle::UNSPEC, at.parent(), kind);
    let empty = DefaultNla::new(TCA_STAB, Vec::new());
    message.attributes.push(TcAttribute::Other(empty));
    Change::new(
        Op::Probe,
        feature.to_string(),
        libc::RTM_NEWQDISC,
        CREATE,
        &message,
    )
}

impl Socket {
    /// Which of these the kernel does not have. Changes nothing.
    ///
    /// # Errors
    /// The kernel does not answer, or tells nothing without `CAP_NET_ADMIN`.
    pub fn missing(&self, features: &[Feature]) -> Result<Vec<Feature>, NetlinkError> {
        let requests: Vec<Change> = features.iter().map(|feature| feature.refused()).collect();
        let mut missing = Vec::new();
        for (feature, outcome) in features.iter().zip(self.send_each(&requests)) {
            let Err(error) = outcome else { continue };
            match error.errno().and_then(|errno| feature.is_missing(errno)) {
                Some(true) => missing.push(*feature),
                Some(false) => {}
                None => return Err(error),
            }
        }
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_kind_are_told_from_those_of_the_kernel() {
        for (feature, missing, there) in [
            (Feature::Ifb, Errno::EOPNOTSUPP, Errno::EADDRNOTAVAIL),
            (Feature::Tbf, Errno::ENOENT, Errno::EINVAL),
            (Feature::Ingress, Errno::ENOENT, Errno::EINVAL),
        ] {
            assert_eq!(feature.is_missing(missing), Some(true), "{feature}");
            assert_eq!(feature.is_missing(there), Some(false), "{feature}");
            assert_eq!(feature.is_missing(Errno::EPERM), None, "{feature}");
        }
        let words = Feature::Ifb.refused().to_string();
        assert_eq!(words, "ask the kernel for link kind ifb");
    }
}
