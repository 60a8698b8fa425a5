//! The filter table as a value: what ADD writes into it, and what DEL takes out.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::copy::Samples;
use super::line::{FORWARD, KERNEL_FORWARD, Kind, Line, Name, STAGE_ONE, STAGE_TWO};
use crate::nft::{Change, Table};

/// The part of a filter table that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Those of the chains that were asked for that are there.
    pub(super) chains: Vec<String>,
    /// Their rules, in order.
    pub(super) lines: Vec<Line>,
    /// How iptables writes some of them; where its text was read, that is not seen.
    pub(super) samples: Samples,
}

/// What an attachment wants of one family's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its addresses of the family.
    pub(crate) addresses: Vec<IpAddr>,
    /// The administrator's chain.
    pub(crate) admin: String,
    /// The bridge that has an ingress policy.
    pub(crate) bridge: Option<String>,
    /// Whether its ports are kept apart, too.
    pub(crate) isolated: bool,
    /// Whether rules may be [copied](super::copy) rather than made by iptables.
    pub(crate) copied: bool,
}

/// What goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removal {
    /// These rules.
    lines: Vec<Line>,
    /// These chains with all of their rules.
    chains: Vec<String>,
}

/// Where a rule goes in its chain.
enum Place {
    First,
    /// Behind as many others, counted from one.
    At(usize),
    Last,
}

impl Wanted {
    /// The chains that it needs.
    pub(super) fn chains(&self) -> Vec<&str> {
        let mut chains = vec![FORWARD, self.admin.as_str()];
        if self.bridge.is_some() {
            chains.extend([STAGE_ONE, STAGE_TWO]);
        }
        chains
    }

    fn accepts(&self) -> impl Iterator<Item = Kind> {
        let both = |address: &IpAddr| [Kind::Answers(*address), Kind::From(*address)];
        self.addresses.iter().flat_map(both)
    }

    /// The rules of the bridge, where they are, and whether they are first.
    fn of_bridge(&self) -> Vec<(&'static str, Kind, Place)> {
        let Some(bridge) = &self.bridge else {
            return Vec::new();
        };
        let jump = Kind::Jump(STAGE_ONE.to_owned());
        let mut rules = vec![
            (KERNEL_FORWARD, jump, Place::First),
            (STAGE_ONE, Kind::Leaving(bridge.clone()), Place::First),
        ];
        if self.isolated {
            rules.push((STAGE_ONE, Kind::Inside(bridge.clone()), Place::First));
        }
        rules.push((STAGE_ONE, Kind::Return, Place::Last));
        rules.push((STAGE_TWO, Kind::Entering(bridge.clone()), Place::First));
        rules.push((STAGE_TWO, Kind::Return, Place::Last));
        rules
    }
}

impl Filter {
    /// The table that `iptables-save` printed.
    pub(super) fn of_text(saved: &str) -> Self {
        let name = |line: &str| Some(line.strip_prefix(':')?.split_once(' ')?.0.to_owned());
        Self {
            chains: saved.lines().filter_map(name).collect(),
            lines: saved.lines().filter_map(Line::of_text).collect(),
            samples: Samples::default(),
        }
    }

    pub(super) fn has_chain(&self, chain: &str) -> bool {
        self.chains.iter().any(|has| has == chain)
    }

    fn has(&self, chain: &str, kind: &Kind) -> bool {
        self.made(chain).any(|line| line.kind == *kind)
    }

    /// Those of a chain's rules that are ours or the reference's.
    fn made(&self, chain: &str) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .filter(move |line| line.chain == chain && line.is_made())
    }

    /// What is wanted and not there, as chain and rule.
    pub(super) fn missing(&self, wanted: &Wanted) -> Vec<(String, Kind)> {
        let missing = self.plan(wanted).into_iter();
        missing
            .map(|(chain, kind, _)| (chain.to_owned(), kind))
            .collect()
    }

    /// Whether anything is missing that is not the attachment's alone.
    pub(super) fn lacks_shared(&self, wanted: &Wanted) -> bool {
        let is_shared = |kind: &Kind| !matches!(kind, Kind::Answers(_) | Kind::From(_));
        let chains = wanted.chains();
        let lacks_chain = chains.iter().any(|chain| !self.has_chain(chain));
        lacks_chain || self.plan(wanted).iter().any(|(_, kind, _)| is_shared(kind))
    }

    /// In the order in which it is to be made. Policies come before accepts, and the administrator's
    /// chain between the two.
    fn plan<'a>(&self, wanted: &'a Wanted) -> Vec<(&'a str, Kind, Place)> {
        let is_stage = |line: &&Line| line.target.as_deref() == Some(STAGE_ONE);
        let mut of_kernel = self
            .lines
            .iter()
            .filter(|line| line.chain == KERNEL_FORWARD);
        let behind = of_kernel
            .by_ref()
            .enumerate()
            .filter(|(_, line)| is_stage(line))
            .last();
        let behind = behind.map_or(Place::First, |(at, _)| Place::At(at + 2));
        let jump = Kind::Jump(FORWARD.to_owned());
        let admin = Kind::Jump(wanted.admin.clone());
        let mut rules = vec![
            (KERNEL_FORWARD, jump, behind),
            (FORWARD, admin, Place::First),
        ];
        rules.extend(wanted.accepts().map(|kind| (FORWARD, kind, Place::Last)));
        rules.extend(wanted.of_bridge());
        rules.retain(|(chain, kind, _)| !self.has(chain, kind));
        rules
    }

    /// What `iptables-restore --noflush` is fed to make what is missing; `None` if nothing is.
    ///
    /// Chains are made by `-N`, which fails where there is one by now: declared, they would be
    /// flushed.
    pub(super) fn restore_for_add(&self, wanted: &Wanted) -> Option<String> {
        let rules = self.plan(wanted);
        let chains = wanted.chains();
        let chains = chains.iter().filter(|chain| !self.has_chain(chain));
        let mut lines: Vec<String> = chains.map(|chain| format!("-N {chain}")).collect();
        for (chain, kind, place) in &rules {
            let rule = kind.text();
            lines.push(match place {
                Place::First => format!("-I {chain} {rule}"),
                Place::At(place) => format!("-I {chain} {place} {rule}"),
                Place::Last => format!("-A {chain} {rule}"),
            });
        }
        (!lines.is_empty()).then(|| restore(&lines))
    }

    /// The same without iptables: `None` where that has to make something, since nothing like it is
    /// there yet, or since it is not the attachment's alone.
    pub(super) fn copies(&self, wanted: &Wanted, table: Table) -> Option<Vec<Change>> {
        if !wanted.copied || self.lacks_shared(wanted) {
            return None;
        }
        let rules = self.plan(wanted).into_iter();
        rules
            .map(|(_chain, kind, _last)| self.samples.copy(table, &kind))
            .collect()
    }

    /// The accepts of some addresses; with the last ones, everything that serves them, unless the
    /// administrator's chain is in use.
    pub(super) fn close(&self, addresses: &[IpAddr], tidy: bool) -> Removal {
        let is_of = |line: &&Line| match line.kind {
            Kind::Answers(address) | Kind::From(address) => addresses.contains(&address),
            _ => false,
        };
        let go: Vec<&Line> = self.made(FORWARD).filter(is_of).collect();
        let mut removal = Removal {
            lines: go.iter().copied().cloned().collect(),
            chains: Vec::new(),
        };
        if go.is_empty() || !tidy {
            return removal;
        }
        let rest = self
            .lines
            .iter()
            .filter(|line| line.chain == FORWARD && !go.contains(line));
        let mut chains = vec![FORWARD.to_owned()];
        for line in rest {
            match &line.kind {
                Kind::Jump(admin) if line.is_made() => chains.push(admin.clone()),
                _ => return removal,
            }
        }
        self.take_chains(chains, &mut removal);
        removal
    }

    /// The ingress policy of a bridge, or only that its ports are kept apart. With the last bridge
    /// goes what serves all.
    pub(super) fn release(&self, is_bridge: &impl Fn(&str) -> bool, inside_alone: bool) -> Removal {
        let is_of = |line: &&Line| match &line.kind {
            Kind::Inside(found) => is_bridge(found),
            Kind::Leaving(found) | Kind::Entering(found) => !inside_alone && is_bridge(found),
            _ => false,
        };
        let stages = [STAGE_ONE, STAGE_TWO];
        let made = stages.iter().flat_map(|stage| self.made(stage));
        let go: Vec<&Line> = made.filter(is_of).collect();
        let mut removal = Removal {
            lines: go.iter().copied().cloned().collect(),
            chains: Vec::new(),
        };
        let is_needed = |line: &Line| {
            stages.contains(&line.chain.as_str())
                && !go.contains(&line)
                && !(line.is_made() && line.kind == Kind::Return)
        };
        if !go.is_empty() && !self.lines.iter().any(is_needed) {
            self.take_chains(stages.map(str::to_owned).to_vec(), &mut removal);
        }
        removal
    }

    /// Adds chains to what goes, if nobody else has put a rule into them or jumps to them. The first
    /// of them is called by the kernel's chain.
    fn take_chains(&self, chains: Vec<String>, removal: &mut Removal) {
        let first = chains.first().cloned().unwrap_or_default();
        let goes = |chain: &String| chains.contains(chain);
        let calls = |line: &&Line| {
            line.chain == KERNEL_FORWARD && line.is_made() && line.kind == Kind::Jump(first.clone())
        };
        let is_in_the_way = |line: &Line| {
            let inside = goes(&line.chain);
            let strange = inside && ![FORWARD, STAGE_ONE, STAGE_TWO].contains(&line.chain.as_str());
            let jumps_in = line.target.as_ref().is_some_and(goes);
            strange || (jumps_in && !inside && !calls(&line))
        };
        if self.lines.iter().any(is_in_the_way) {
            return;
        }
        removal.lines.retain(|line| !goes(&line.chain));
        removal
            .lines
            .extend(self.lines.iter().filter(calls).cloned());
        removal
            .chains
            .extend(chains.into_iter().filter(|chain| self.has_chain(chain)));
    }
}

impl Removal {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.chains.is_empty()
    }

    /// As changes of `nf_tables`.
    pub(super) fn changes(&self, table: Table) -> Vec<Change> {
        let rules = self.lines.iter().filter_map(|line| match line.name {
            Name::Handle(handle) => Some(Change::DeleteRule {
                table,
                chain: line.chain.clone(),
                handle,
            }),
            Name::Text(_) => None,
        });
        let flush = self.chains.iter().map(|chain| Change::FlushChain {
            table,
            chain: chain.clone(),
        });
        let delete = self.chains.iter().map(|chain| Change::DeleteChain {
            table,
            chain: chain.clone(),
        });
        rules.chain(flush).chain(delete).collect()
    }

    /// As what `iptables-restore --noflush` is fed.
    pub(super) fn restore(&self) -> String {
        let rules = self.lines.iter().filter_map(|line| match &line.name {
            Name::Text(text) => Some(format!("-D {} {text}", line.chain)),
            Name::Handle(_) => None,
        });
        let flush = self.chains.iter().map(|chain| format!("-F {chain}"));
        let delete = self.chains.iter().map(|chain| format!("-X {chain}"));
        let lines: Vec<String> = rules.chain(flush).chain(delete).collect();
        restore(&lines)
    }
}

fn restore(lines: &[String]) -> String {
    let mut input = String::from("*filter\n");
    for line in lines {
        let _ok = writeln!(input, "{line}");
    }
    input.push_str("COMMIT\n");
    input
}

#[cfg(test)]
mod tests;
