//! `resolv.conf`, as the reference reads it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cni_types::Dns;

/// No resolv.conf is larger.
const SIZE_LIMIT: u64 = 1 << 20;

/// Reads the file that `ipam.resolvConf` names.
pub(crate) fn load(path: &Path) -> io::Result<Dns> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_LIMIT).read_to_end(&mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// `nameserver` counts with its first word, `domain` the last time it is said, `search` and
/// `options` add up. Whatever else there is, and lines that begin with `#` or `;`, is left out.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), Some(first)) = (words.next(), words.next()) else {
            continue;
        };
        let all = std::iter::once(first).chain(words).map(str::to_owned);
        match key {
            "nameserver" => dns.nameservers.push(first.to_owned()),
            "domain" => first.clone_into(&mut dns.domain),
            "search" => dns.search.extend(all),
            "options" => dns.options.extend(all),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields() {
        let dns = parse(
            "# comment\n; comment\n#nameserver 9.9.9.9\n\nnameserver 192.0.2.0 ignored\n  \
             nameserver\t192.0.2.1\ndomain old.example\ndomain example.com\nsearch a.example \
             b.example\nsearch c.example\noptions four\noptions ndots:5 rotate\nnameserver\n\
             sortlist 130.155.160.0\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.0", "192.0.2.1"]);
        assert_eq!(dns.domain, "example.com");
        assert_eq!(dns.search, ["a.example", "b.example", "c.example"]);
        assert_eq!(dns.options, ["four", "ndots:5", "rotate"]);
        assert!(parse("").is_empty());
    }
}
