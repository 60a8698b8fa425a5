//! Rules of somebody else in the packet filter, as many as a node may have whose services they are.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use cni_testkit::Netns;

/// Loads a table with so many rules, which packets do go through.
pub(crate) fn load(host: &Netns, count: u32) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new().context("make a file for rules")?;
    std::io::Write::write_all(&mut file, table(count)?.as_bytes())?;
    let path = file.path().to_str().context("a name in UTF-8")?;
    host.command("nft", &["-f", path]);
    Ok(())
}

/// In `nft(8)`'s language.
fn table(count: u32) -> Result<String> {
    let mut text = String::from(
        "table inet somebody_else {\n chain forward {\n  type filter hook forward priority 0;\n",
    );
    for number in 0..count {
        let [_, high, middle, low] = number.to_be_bytes();
        let port = 1 + number % 65_535;
        writeln!(
            text,
            "  ip daddr 100.{high}.{middle}.{low} tcp dport {port} counter accept"
        )?;
    }
    text.push_str(" }\n}\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_another() {
        let text = table(300).unwrap();
        let rules: std::collections::BTreeSet<&str> = text
            .lines()
            .filter(|line| line.contains("accept"))
            .collect();
        assert_eq!(rules.len(), 300);
        assert!(rules.contains("  ip daddr 100.0.1.0 tcp dport 257 counter accept"));
    }
}
