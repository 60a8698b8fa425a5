//! Netfilter: the only crate that speaks to it.
//!
//! - [`nft`][]: `nf_tables` over netlink, without a process; transactions are values.
//! - [`masquerade`][]: `ipMasq`.
//! - [`spoofcheck`][]: `macspoofchk`.
//! - [`isolation`][]: networks that lead nowhere.
//! - [`portmap`][]: port mappings.
//! - [`iptables`][]: `ipMasq` and port mappings for those who ask for iptables.
//! - [`mod@forward`][]: containers that are let through, and bridges that are kept apart.
//! - [`mod@reference`][]: what the reference plugins left behind.
//! - [`owner`][]: whose a rule is.
//!
//! Rules are fixed and attachments are elements of sets, tagged with their owner, so that an ADD
//! costs the same with ten thousand attachments as with none. DEL and GC take away what carries the
//! right tag and nothing else.

mod conntrack;
mod error;
#[cfg(test)]
mod fake_tests;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
pub mod iptables;
pub mod isolation;
pub mod masquerade;
mod matches;
mod nfnetlink;
pub mod nft;
pub mod owner;
pub mod portmap;
pub mod reference;
mod registry;
pub mod spoofcheck;
mod wire;

pub use error::{Cause, FirewallError, Operation};
pub use nft::Nft;
pub use registry::{Lack, Missing};

#[cfg(test)]
mod tests {
    use super::*;

    /// DEL and GC have nothing to do on a kernel without `nf_tables`, ADD says what is missing.
    #[test]
    fn a_kernel_without_nf_tables_has_nothing_to_remove() {
        let mut nft = Nft::absent();
        let one = cni_types::Attachment {
            network: "net".parse().unwrap(),
            container_id: "c1".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let addresses = ["10.1.0.5/16".parse().unwrap()];
        for known in [Some(addresses.as_slice()), None] {
            masquerade::remove(&mut nft, &one, known).unwrap();
            spoofcheck::remove(&mut nft, &one, None).unwrap();
            isolation::remove(&mut nft, &one, &"br0".parse().unwrap()).unwrap();
        }
        let known = ["10.1.0.5".parse().unwrap()];
        let held = forward::held(&mut nft, &one, &known).unwrap();
        assert_eq!((&held.unrecorded[..], held.open.len()), (&known[..], 0));
        forward::remove(&mut nft, &one, &held).unwrap();
        let stale = forward::stale(&mut nft, &one.network, &[]).unwrap();
        assert_eq!(stale, forward::Held::default());
        forward::collect(&mut nft, &one.network, &[], &stale).unwrap();
        let nothing = portmap::Removed::default();
        assert_eq!(portmap::remove(&mut nft, &one).unwrap(), nothing);
        assert_eq!(portmap::gc(&mut nft, &one.network, &[]).unwrap(), nothing);
        assert_eq!(masquerade::gc(&mut nft, &one.network, &[]).unwrap(), 0);
        assert_eq!(spoofcheck::gc(&mut nft, &one.network, &[]).unwrap(), 0);
        let error = masquerade::add(&mut nft, &one, &addresses).expect_err("there is no kernel");
        assert!(error.is_unsupported());
        assert_eq!(
            error.hint(),
            Some("does this kernel have nf_tables, NAT and bridge filters?")
        );
    }
}
