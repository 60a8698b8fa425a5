//! The reference's rules for port mappings as text, the way `iptables-save` prints them.

use std::fmt::Write as _;

use cni_types::Attachment;

use super::HostPorts;
use super::runs::{Run, ports_text, runs};
use super::saved::{Entry, Line};
use crate::iptables::tables::Family;
use crate::iptables::text::{COMMENT_MAX, declares, quote};
use crate::owner;
use crate::portmap::{Mapping, MarkBit, Masquerade, Protocol};

pub(super) const DNAT: &str = "CNI-HOSTPORT-DNAT";
const SET_MARK: &str = "CNI-HOSTPORT-SETMARK";
const MASQUERADE: &str = "CNI-HOSTPORT-MASQ";
/// Ours: keeps the host's loopback to the host.
pub(super) const GUARD: &str = "CNI-HOSTPORT-GUARD";

/// `xt_multiport` takes so many ports, a range counting as two.
const PORTS_OF_A_RULE: usize = 15;
/// What a family's `nat` table is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The attachment's own chain.
    pub(super) chain: String,
    /// Chains that all share.
    pub(super) shared: Vec<&'static str>,
    /// The rules of these, and the jumps to them: lines, and whether they come first in their
    /// chain.
    pub(super) shared_rules: Vec<(String, bool)>,
    /// The rules of the own chain.
    pub(super) rules: Vec<String>,
    /// Which ports lead to it.
    pub(super) entries: Vec<Entry>,
    /// The same as lines.
    pub(super) entry_lines: Vec<String>,
}

/// What to hold for a family; `None` if nothing is published there.
pub(super) fn wanted(attachment: &Attachment, ports: &HostPorts, family: Family) -> Option<Wanted> {
    let publication = &ports.publication;
    let container = publication.address(family.is_v6())?;
    let mappings: Vec<&Mapping> = publication
        .mappings
        .iter()
        .filter(|mapping| mapping.is_for(family.is_v6()))
        .collect();
    if mappings.is_empty() {
        return None;
    }
    let chain = owner::reference_dnat_chain(attachment);
    let runs = runs(&mappings);
    let (shared, shared_rules) = shared(ports);
    let entries = entries(&chain, &runs);
    let entry_lines = entries
        .iter()
        .map(|entry| entry_line(attachment, entry, ports.condition(family)))
        .collect();
    Some(Wanted {
        rules: runs
            .iter()
            .flat_map(|run| run.rules(&chain, ports, container))
            .collect(),
        chain,
        shared,
        shared_rules,
        entries,
        entry_lines,
    })
}

/// Chains and rules that all attachments share. The rule that marks is shared only for the
/// reference's bit: every chain that jumped to it would get all bits that anybody asks for.
fn shared(ports: &HostPorts) -> (Vec<&'static str>, Vec<(String, bool)>) {
    let mut chains = vec![DNAT];
    let to_host = |parent: &str| format!("-A {parent} -m addrtype --dst-type LOCAL -j {DNAT}");
    let mut rules = vec![(to_host("PREROUTING"), false), (to_host("OUTPUT"), false)];
    let publication = &ports.publication;
    if publication.masquerade == Masquerade::Never || ports.set_mark_chain.is_some() {
        return (chains, rules);
    }
    if publication.mark == MarkBit::default() {
        let mark = set_mark(publication.mark);
        let comment = "-m comment --comment \"CNI portfwd masquerade mark\"";
        chains.push(SET_MARK);
        rules.push((format!("-A {SET_MARK} {comment} -j {mark}"), false));
    }
    let mark = publication.mark.value();
    chains.push(MASQUERADE);
    rules.push((
        format!("-A {MASQUERADE} -m mark --mark {mark:#x}/{mark:#x} -j MASQUERADE"),
        false,
    ));
    let comment = "-m comment --comment \"CNI portfwd requiring masquerade\"";
    // In front of the rules that masquerade what leaves a subnet, which accept what stays.
    rules.push((format!("-A POSTROUTING {comment} -j {MASQUERADE}"), true));
    (chains, rules)
}

fn set_mark(bit: MarkBit) -> String {
    let mark = bit.value();
    format!("MARK --set-xmark {mark:#x}/{mark:#x}")
}

impl HostPorts {
    /// The target that marks.
    pub(super) fn marker(&self) -> String {
        match &self.set_mark_chain {
            Some(chain) => chain.clone(),
            None if self.publication.mark == MarkBit::default() => SET_MARK.to_owned(),
            None => set_mark(self.publication.mark),
        }
    }

    pub(super) fn condition(&self, family: Family) -> &[String] {
        if family.is_v6() {
            &self.condition_v6
        } else {
            &self.condition_v4
        }
    }
}

/// In the reference's order: by the protocols' names.
fn entries(chain: &str, runs: &[Run<'_>]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for protocol in [Protocol::Sctp, Protocol::Tcp, Protocol::Udp] {
        let mut room = 0;
        for run in runs.iter().filter(|run| run.first.protocol == protocol) {
            let takes = if run.host.len() == 1 { 1 } else { 2 };
            match entries.last_mut() {
                Some(entry) if room >= takes => {
                    if !entry.ports.contains(&run.host) {
                        entry.ports.push(run.host.clone());
                        room -= takes;
                    }
                }
                _ => {
                    room = PORTS_OF_A_RULE - takes;
                    entries.push(Entry {
                        chain: chain.to_owned(),
                        protocol,
                        ports: vec![run.host.clone()],
                        owner: None,
                        conditional: false,
                    });
                }
            }
        }
    }
    entries
}

fn entry_line(attachment: &Attachment, entry: &Entry, condition: &[String]) -> String {
    let Entry {
        chain, protocol, ..
    } = entry;
    let ports: Vec<String> = entry.ports.iter().map(ports_text).collect();
    let mut comment = format!("dnat {}", owner::reference_comment(attachment));
    if comment.len() > COMMENT_MAX {
        comment.truncate(COMMENT_MAX - 3);
        comment.push_str("...");
    }
    let condition: String = condition.iter().fold(String::new(), |text, word| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
        let word = if word.chars().all(plain) && !word.is_empty() {
            word.clone()
        } else {
            quote(word)
        };
        text + " " + &word
    });
    format!(
        "-A {DNAT} -p {protocol} -m comment --comment {} -m multiport --dports {}{condition} -j {chain}",
        quote(&comment),
        ports.join(","),
    )
}

impl Wanted {
    /// Which lines are missing in a saved table. An entry counts if its ports lead to the chain:
    /// how iptables prints a condition is its own business.
    pub(super) fn missing(&self, saved: &[Line]) -> Vec<&String> {
        let is_there = |rule: &&String| saved.iter().any(|line| line.text == **rule);
        let shared = self.shared_rules.iter().map(|(rule, _first)| rule);
        let exact = shared.chain(&self.rules).filter(|rule| !is_there(rule));
        let entries = self.entries.iter().zip(&self.entry_lines);
        let entries = entries.filter(|(entry, _line)| {
            let has = saved.iter().filter_map(|line| line.entry.as_ref());
            !entry.is_covered_by(has)
        });
        exact.chain(entries.map(|(_, line)| line)).collect()
    }

    /// Whether a rule is missing that all attachments share.
    pub(super) fn lacks_shared(&self, saved: &[Line]) -> bool {
        let mut shared = self.shared_rules.iter().map(|(rule, _first)| rule);
        shared.any(|rule| !saved.iter().any(|line| line.text == *rule))
    }

    /// What `iptables-restore --noflush` is fed to make all of it; `None` if all of it is there.
    /// `stale` chains go.
    ///
    /// A shared chain is made with `-N`, which fails if somebody else was faster, and fails the
    /// whole: declared, it would be flushed. The own chain is declared for that very reason.
    pub(super) fn restore(&self, saved: &str, lines: &[Line], stale: &[String]) -> Option<String> {
        if self.missing(lines).is_empty() && stale.is_empty() {
            return None;
        }
        let mut input = String::from("*nat\n");
        for chain in self.shared.iter().filter(|chain| !declares(saved, chain)) {
            let _ok = writeln!(input, "-N {chain}");
        }
        let _ok = writeln!(input, ":{} - [0:0]", self.chain);
        for chain in stale {
            let _ok = writeln!(input, ":{chain} - [0:0]");
        }
        for line in lines {
            let leads_to = line.entry.as_ref().map(|entry| &entry.chain);
            if leads_to.is_some_and(|chain| *chain == self.chain || stale.contains(chain)) {
                let rule = line.text.strip_prefix("-A").unwrap_or(&line.text);
                let _ok = writeln!(input, "-D{rule}");
            }
        }
        for chain in stale {
            let _ok = writeln!(input, "-X {chain}");
        }
        for (rule, first) in &self.shared_rules {
            if !lines.iter().any(|line| line.text == *rule) {
                let rule = rule.strip_prefix("-A").unwrap_or(rule);
                let how = if *first { "-I" } else { "-A" };
                let _ok = writeln!(input, "{how}{rule}");
            }
        }
        for rule in self.rules.iter().chain(&self.entry_lines) {
            let _ok = writeln!(input, "{rule}");
        }
        input.push_str("COMMIT\n");
        Some(input)
    }
}

/// The rules of the guard, in table `raw`.
pub(super) fn guard_rules() -> [String; 2] {
    let comment = "-m comment --comment \"CNI portfwd loopback guard\"";
    [
        format!("-A {GUARD} -d 127.0.0.0/8 ! -i lo {comment} -j DROP"),
        format!("-A PREROUTING {comment} -j {GUARD}"),
    ]
}

/// What `iptables-restore` is fed to make what is missing of the guard.
pub(super) fn restore_for_guard(saved: &str) -> Option<String> {
    let missing: Vec<String> = guard_rules()
        .into_iter()
        .filter(|rule| !saved.lines().any(|line| line == rule))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut input = String::from("*raw\n");
    if !declares(saved, GUARD) {
        let _ok = writeln!(input, "-N {GUARD}");
    }
    for rule in missing {
        let _ok = writeln!(input, "{rule}");
    }
    input.push_str("COMMIT\n");
    Some(input)
}
