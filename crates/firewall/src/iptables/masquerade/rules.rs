//! The reference's masquerade rules as text, the way `iptables-save` prints them: so what is there
//! and what is wanted compare as lines.

use std::fmt::Write as _;
use std::net::IpAddr;

use cni_types::{Attachment, IpCidr, NetworkName};

use crate::iptables::tables::Family;
use crate::iptables::text::{COMMENT_MAX, declares, jumps_to, quote, restore_for_removal};
use crate::owner;

fn comment(attachment: &Attachment) -> String {
    let mut comment = owner::reference_comment(attachment);
    if comment.len() > COMMENT_MAX {
        comment.truncate(COMMENT_MAX - 3);
        comment.push_str("...");
    }
    quote(&comment)
}

/// The lines that ADD makes in one family: first those of the container's chain, then the jumps to
/// it. Subnets that several addresses share are there once.
#[must_use]
pub fn wanted(attachment: &Attachment, addresses: &[IpCidr], family: Family) -> Vec<String> {
    let chain = owner::reference_chain(attachment);
    let comment = comment(attachment);
    let mut lines: Vec<String> = Vec::new();
    let mut jumps = Vec::new();
    let push = |lines: &mut Vec<String>, line: String| {
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    let mut of_family = addresses
        .iter()
        .filter(|address| Family::of(address) == family)
        .peekable();
    let any = of_family.peek().is_some();
    for address in of_family {
        let subnet = destination(&address.subnet());
        push(
            &mut lines,
            format!("-A {chain}{subnet} -m comment --comment {comment} -j ACCEPT"),
        );
        push(
            &mut jumps,
            format!(
                "-A POSTROUTING -s {} -m comment --comment {comment} -j {chain}",
                IpCidr::host(address.addr())
            ),
        );
    }
    if any {
        let multicast = if family.is_v6() {
            "ff00::/8"
        } else {
            "224.0.0.0/4"
        };
        lines.push(format!(
            "-A {chain} ! -d {multicast} -m comment --comment {comment} -j MASQUERADE"
        ));
    }
    lines.append(&mut jumps);
    lines
}

/// `iptables-save` leaves out a match of everything.
fn destination(subnet: &IpCidr) -> String {
    if subnet.prefix() == 0 {
        String::new()
    } else {
        format!(" -d {subnet}")
    }
}

/// What `iptables-restore --noflush` is fed to make what is not in `saved`; `None` if all of it is.
///
/// `saved` is the table as `iptables-save -t nat` prints it, or empty if the chain is known not to
/// exist.
#[must_use]
pub fn restore_for_add(
    attachment: &Attachment,
    addresses: &[IpCidr],
    family: Family,
    saved: &str,
) -> Option<String> {
    let missing: Vec<String> = wanted(attachment, addresses, family)
        .into_iter()
        .filter(|line| !saved.lines().any(|has| has == line))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let chain = owner::reference_chain(attachment);
    let mut input = String::from("*nat\n");
    // Declaring a chain that exists would flush it: it may serve another interface as well.
    if !declares(saved, &chain) {
        let _ok = writeln!(input, ":{chain} - [0:0]");
    }
    // The chain ends in its MASQUERADE, so a subnet that joins later goes in front.
    for line in missing {
        match line.strip_prefix(&format!("-A {chain}")) {
            Some(rule) if declares(saved, &chain) && rule.ends_with("-j ACCEPT") => {
                let _ok = writeln!(input, "-I {chain}{rule}");
            }
            _ => {
                let _ok = writeln!(input, "{line}");
            }
        }
    }
    input.push_str("COMMIT\n");
    Some(input)
}

/// What `iptables-restore --noflush` is fed to remove the attachment's rules and those that the
/// reference made for it; `None` if there are none.
///
/// The chain belongs to the container and the network, not to the interface. With `addresses`, it
/// stays as long as jumps for other addresses lead to it; without them, everything goes.
#[must_use]
pub fn restore_for_remove(
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    saved: &str,
) -> Option<String> {
    let chain = owner::reference_chain(attachment);
    restore_for_removal(&chain, saved, |line| {
        addresses.is_none_or(|own| is_own(source(line), own))
    })
}

/// The containers on a network that a saved table has masquerade chains for. A rule counts if it has
/// the reference's comment and jumps to the chain that goes with it.
pub(super) fn containers(saved: &str, network: &NetworkName) -> Vec<Attachment> {
    let comment = format!(r#"--comment "name: \"{network}\" id: \""#);
    let of_rule = |line: &str| {
        let (_, rest) = line.split_once(&comment)?;
        let (container_id, _) = rest.split_once(r#"\""#)?;
        let attachment = Attachment {
            network: network.clone(),
            container_id: container_id.parse().ok()?,
            // The chain serves all interfaces of the container.
            ifname: "any".parse().ok()?,
        };
        jumps_to(line, &owner::reference_chain(&attachment)).then_some(attachment)
    };
    let mut found: Vec<Attachment> = saved.lines().filter_map(of_rule).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn source(line: &str) -> Option<IpCidr> {
    let mut words = line.split(' ');
    words.find(|&word| word == "-s")?;
    words.next()?.parse().ok()
}

/// Whether a jump from `source` is for one of these addresses. A jump for a whole subnet is what
/// early versions of the reference made, and one without a source nobody's but ours to remove.
pub(crate) fn is_own(source: Option<IpCidr>, addresses: &[IpCidr]) -> bool {
    source.is_none_or(|source| {
        source.prefix() != source.bits()
            || addresses
                .iter()
                .map(IpCidr::addr)
                .any(|own: IpAddr| own == source.addr())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            network: "net".parse().unwrap(),
            container_id: "c1".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    fn cidrs(texts: &[&str]) -> Vec<IpCidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const CHAIN: &str = "CNI-623e1c388032b20529218ecc";

    /// What Debian's reference plugin made, printed by `iptables-save -t nat` 1.8.9.
    const REFERENCE: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-623e1c388032b20529218ecc - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
-A CNI-623e1c388032b20529218ecc -d 10.1.0.0/16 -m comment --comment "name: \"net\" id: \"c1\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"c1\"" -j MASQUERADE
COMMIT
"#;

    #[test]
    fn the_first_add_is_one_table_with_the_chain_and_the_jump() {
        let input =
            restore_for_add(&attachment(), &cidrs(&["10.1.0.2/16"]), Family::V4, "").unwrap();
        assert_eq!(
            input,
            r#"*nat
:CNI-623e1c388032b20529218ecc - [0:0]
-A CNI-623e1c388032b20529218ecc -d 10.1.0.0/16 -m comment --comment "name: \"net\" id: \"c1\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"c1\"" -j MASQUERADE
-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
COMMIT
"#
        );
    }

    #[test]
    fn each_family_gets_its_own_addresses() {
        let both = cidrs(&["10.1.0.2/16", "fd00:1::2/64"]);
        let v6 = wanted(&attachment(), &both, Family::V6);
        assert_eq!(v6.len(), 3);
        assert!(v6[0].contains(" -d fd00:1::/64 "), "{v6:?}");
        assert!(v6[1].contains(" ! -d ff00::/8 "), "{v6:?}");
        assert!(v6[2].contains(" -s fd00:1::2/128 "), "{v6:?}");
        let only_v4 = cidrs(&["10.1.0.2/16"]);
        assert_eq!(
            restore_for_add(&attachment(), &only_v4, Family::V6, ""),
            None
        );
    }

    #[test]
    fn a_second_add_makes_nothing() {
        let same = cidrs(&["10.1.0.2/16"]);
        assert_eq!(
            restore_for_add(&attachment(), &same, Family::V4, REFERENCE),
            None
        );
    }

    #[test]
    fn a_second_address_joins_the_chain_without_flushing_it() {
        let more = cidrs(&["10.2.0.9/24"]);
        let input = restore_for_add(&attachment(), &more, Family::V4, REFERENCE).unwrap();
        assert_eq!(
            input,
            r#"*nat
-I CNI-623e1c388032b20529218ecc -d 10.2.0.0/24 -m comment --comment "name: \"net\" id: \"c1\"" -j ACCEPT
-A POSTROUTING -s 10.2.0.9/32 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
COMMIT
"#
        );
    }

    #[test]
    fn removal_takes_the_jumps_and_the_chain_and_nothing_else() {
        let expected = r#"*nat
:CNI-623e1c388032b20529218ecc - [0:0]
-D POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
-X CNI-623e1c388032b20529218ecc
COMMIT
"#;
        let known = cidrs(&["10.1.0.2/16"]);
        for addresses in [None, Some(known.as_slice())] {
            assert_eq!(
                restore_for_remove(&attachment(), addresses, REFERENCE).as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn the_chain_stays_for_the_containers_other_interface() {
        let other = cidrs(&["10.1.0.3/16"]);
        assert_eq!(
            restore_for_remove(&attachment(), Some(&other), REFERENCE),
            None
        );
    }

    #[test]
    fn jumps_for_a_whole_subnet_are_removed_too() {
        let old = REFERENCE.replace("-s 10.1.0.2/32", "-s 10.1.0.0/16");
        let known = cidrs(&["10.1.0.2/16"]);
        let input = restore_for_remove(&attachment(), Some(&known), &old).unwrap();
        assert!(input.contains("-D POSTROUTING -s 10.1.0.0/16 "), "{input}");
        assert!(input.contains(&format!("-X {CHAIN}")), "{input}");
    }

    #[test]
    fn nothing_is_removed_where_there_is_nothing() {
        for saved in [
            "",
            "*nat\nCOMMIT\n",
            "*nat\n:CNI-623e1c388032b20529218ecc0 - [0:0]\n\
             -A POSTROUTING -j XCNI-623e1c388032b20529218ecc\nCOMMIT\n",
        ] {
            assert_eq!(restore_for_remove(&attachment(), None, saved), None);
        }
    }

    #[test]
    fn words_are_quoted_as_iptables_restore_reads_them() {
        assert_eq!(quote(r#"a "b" \c"#), r#""a \"b\" \\c""#);
        let mut long = attachment();
        long.container_id = "c".repeat(300).parse().unwrap();
        let comment = comment(&long);
        // Each of the three inner quotes has its backslash, and there are two outer ones.
        assert_eq!(comment.len(), COMMENT_MAX + 3 + 2);
        assert!(comment.ends_with("...\""), "{comment}");
    }

    #[test]
    fn containers_are_found_by_comment_and_chain() {
        let net: NetworkName = "net".parse().unwrap();
        let found: Vec<String> = containers(REFERENCE, &net)
            .iter()
            .map(|found| found.container_id.to_string())
            .collect();
        assert_eq!(found, ["c1"]);
        assert_eq!(containers(REFERENCE, &"ne".parse().unwrap()), []);
        // Somebody's rule with the comment of another container.
        let foreign = REFERENCE.replace("c1", "c9");
        assert_eq!(containers(&foreign, &net), []);
    }
}
