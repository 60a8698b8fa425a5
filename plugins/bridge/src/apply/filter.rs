//! The packet filter: masquerade and spoof check.

use cni_firewall::spoofcheck::{self, Binding};
use cni_firewall::{Nft, iptables, masquerade};
use cni_plugin::Undo;
use cni_types::{Attachment, CniError, IpCidr};

use crate::config::Masquerade;

/// Drops what the container sends with another source address than its own.
pub(crate) fn add_spoof_check(
    attachment: &Attachment,
    binding: &Binding,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let mut nft = Nft::open()?;
    let (owner, bound) = (attachment.clone(), binding.clone());
    undo.push("remove the MAC spoof check", move || {
        Ok(spoofcheck::remove(&mut Nft::open()?, &owner, Some(&bound))?)
    });
    Ok(spoofcheck::add(&mut nft, attachment, binding)?)
}

/// Masquerades what the container's addresses send to the world.
pub(crate) fn add_masquerade(
    backend: Masquerade,
    attachment: &Attachment,
    addresses: &[IpCidr],
    undo: &mut Undo,
) -> Result<(), CniError> {
    let (owner, sources) = (attachment.clone(), addresses.to_vec());
    match backend {
        Masquerade::Off => {}
        Masquerade::Nftables => {
            let mut nft = Nft::open()?;
            undo.push("remove the masquerade rules", move || {
                Ok(masquerade::remove(
                    &mut Nft::open()?,
                    &owner,
                    Some(&sources),
                )?)
            });
            masquerade::add(&mut nft, attachment, addresses)?;
        }
        Masquerade::Iptables => {
            let mut nft = Nft::open()?;
            undo.push("remove the masquerade rules", move || {
                Ok(iptables::remove(&mut Nft::open()?, &owner, Some(&sources))?)
            });
            iptables::add(&mut nft, attachment, addresses)?;
        }
    }
    Ok(())
}

/// Removes all rules of an attachment: ours, and those the reference made for it. A kernel without
/// `nf_tables` has none.
///
/// Where the addresses are not known (`None`), the whole table is searched for the attachment's tag.
/// Returns the socket, since closing it takes its time.
pub(crate) fn remove_all(
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    errors: &mut Vec<CniError>,
) -> Option<Nft> {
    let mut nft = match Nft::open() {
        Ok(nft) => nft,
        Err(error) => {
            errors.push(error.into());
            return None;
        }
    };
    let outcomes = [
        masquerade::remove(&mut nft, attachment, addresses),
        // By the tag: whoever changed a MAC address since has not told us.
        spoofcheck::remove(&mut nft, attachment, None),
        cni_firewall::reference::remove(&mut nft, attachment, addresses),
    ];
    errors.extend(
        outcomes
            .into_iter()
            .filter_map(Result::err)
            .map(CniError::from),
    );
    Some(nft)
}
