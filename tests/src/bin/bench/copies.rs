//! Many published ports in a hurry: the rules that the reference makes for one, made over for others.
//! Pure.
//!
//! The reference needs seconds for a port where there are thousands. What connections cost then
//! depends on the rules that there are, not on who has made them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

/// A container with a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Its number, which is all that tells its chain from others.
    pub(crate) index: usize,
    /// `CNI_CONTAINERID`.
    pub(crate) id: String,
    /// The host's port.
    pub(crate) port: u16,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

/// What `iptables-restore --noflush` has to read for `others` to have what `one` has in `saved`, the
/// output of `iptables-save -t nat`.
///
/// # Errors
/// When `one` has no chain there, or not the four rules of a published port.
pub(crate) fn copies(
    saved: &str,
    one: &Published,
    others: impl Iterator<Item = Published>,
) -> Result<String> {
    let mut appended = saved.lines().filter(|line| line.starts_with("-A "));
    let entry = appended
        .find(|line| line.contains(&one.id))
        .context("no rule has the container's id")?;
    let chain = entry.rsplit(' ').next().context("a rule without words")?;
    let own = format!("-A {chain} ");
    let inside = saved.lines().filter(|line| line.starts_with(&own));
    let rules: Vec<&str> = std::iter::once(entry).chain(inside).collect();
    ensure!(
        rules.len() == 4,
        "not the rules of a published port: {rules:#?}"
    );
    let mut text = String::from("*nat\n");
    for other in others {
        let other_chain = format!("CNI-DN-{:021x}", other.index);
        writeln!(text, ":{other_chain} - [0:0]")?;
        for rule in &rules {
            let rule = rule
                .replace(&one.id, &other.id)
                .replace(chain, &other_chain)
                .replace(
                    &format!("--dports {} ", one.port),
                    &format!("--dports {} ", other.port),
                )
                .replace(
                    &format!("--dport {} ", one.port),
                    &format!("--dport {} ", other.port),
                )
                .replace(&format!("{}:", one.address), &format!("{}:", other.address));
            writeln!(text, "{rule}")?;
        }
    }
    text.push_str("COMMIT\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference 1.1.1 has it.
    const SAVED: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:CNI-DN-67e92b96e692a494b6b85 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-DN-67e92b96e692a494b6b85 -s 10.88.0.0/16 -p tcp -m tcp --dport 10001 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-67e92b96e692a494b6b85 -s 127.0.0.1/32 -p tcp -m tcp --dport 10001 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-67e92b96e692a494b6b85 -p tcp -m tcp --dport 10001 -j DNAT --to-destination 10.88.1.1:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"bench\" id: \"c1\"" -m multiport --dports 10001 -j CNI-DN-67e92b96e692a494b6b85
COMMIT
"#;

    fn published(index: usize, id: &str, port: u16, last: u8) -> Published {
        Published {
            index,
            id: id.into(),
            port,
            address: Ipv4Addr::new(10, 88, 1, last),
        }
    }

    #[test]
    fn each_gets_a_chain_with_its_own_names() {
        let one = published(1, "c1", 10001, 1);
        let text = copies(SAVED, &one, [published(2, "c2", 10002, 2)].into_iter()).unwrap();
        let expected = r#"*nat
:CNI-DN-000000000000000000002 - [0:0]
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"bench\" id: \"c2\"" -m multiport --dports 10002 -j CNI-DN-000000000000000000002
-A CNI-DN-000000000000000000002 -s 10.88.0.0/16 -p tcp -m tcp --dport 10002 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-000000000000000000002 -s 127.0.0.1/32 -p tcp -m tcp --dport 10002 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-000000000000000000002 -p tcp -m tcp --dport 10002 -j DNAT --to-destination 10.88.1.2:80
COMMIT
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn others_rules_are_not_taken_for_a_ports() {
        let absent = published(3, "c3", 10003, 3);
        assert!(copies(SAVED, &absent, std::iter::empty()).is_err());
    }
}
