//! The accepts of an address, copied from those of another.
//!
//! Each version of iptables writes a rule in its own way, and has to know it again when it lists, so
//! a rule that it did not make is one that it has made already, with another address in it. That
//! needs no process; but it needs a rule to copy, which the first container of a host does not find.

use std::net::IpAddr;

use super::line::{FORWARD, Kind, Line};
use crate::matches::octets;
use crate::nft::{Change, Expr, Rule, Table};

/// How iptables writes the accepts here, as far as that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Samples {
    from: Option<Vec<Expr>>,
    answers: Option<Vec<Expr>>,
}

impl Samples {
    /// Takes a rule for a sample, if it is one. `line` is what it was read as: of the accepts, that
    /// leaves nothing that is not known here, and a single comparison.
    pub(super) fn take(&mut self, rule: &Rule, line: &Line) {
        let sample = match line.kind {
            _ if line.chain != FORWARD || !line.is_made() => return,
            Kind::From(_) => &mut self.from,
            Kind::Answers(_) => &mut self.answers,
            _ => return,
        };
        sample.get_or_insert_with(|| rule.expressions.clone());
    }

    /// A rule at the end of the chain.
    pub(super) fn copy(&self, table: Table, kind: &Kind) -> Option<Change> {
        let (sample, address) = match kind {
            Kind::From(address) => (self.from.as_ref()?, address),
            Kind::Answers(address) => (self.answers.as_ref()?, address),
            _ => return None,
        };
        Some(Change::AddRule {
            table,
            chain: FORWARD,
            rule: with_address(sample, *address)?,
            comment: None,
        })
    }
}

fn with_address(sample: &[Expr], address: IpAddr) -> Option<Vec<Expr>> {
    let new = octets(address);
    let mut rule = sample.to_vec();
    let old = rule.iter_mut().find_map(|expr| match expr {
        Expr::Compare { bytes, .. } => Some(bytes),
        _ => None,
    })?;
    if old.len() != new.len() {
        return None;
    }
    *old = new;
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::Family;
    use crate::matches::{End, address};
    use crate::nft::{Register, Verdict};

    /// `struct xt_conntrack_mtinfo3` of `--ctstate RELATED,ESTABLISHED`
    fn states() -> Expr {
        let mut info = vec![0; 168];
        info[146] = 1;
        info[150] = 0b110;
        Expr::Match {
            name: "conntrack".to_owned(),
            revision: 3,
            info,
        }
    }

    fn rule(end: End, host: &[u8], more: Option<Expr>) -> Rule {
        let v6 = host.len() == 16;
        let mut expressions = vec![address(end, v6, Register::FIRST), Expr::equals(host)];
        expressions.extend(more);
        expressions.extend([Expr::Counter, Expr::Verdict(Verdict::Accept)]);
        Rule {
            chain: FORWARD.to_owned(),
            handle: 7,
            expressions,
            comment: None,
        }
    }

    fn samples(rules: &[Rule]) -> Samples {
        let mut samples = Samples::default();
        for rule in rules {
            samples.take(rule, &Line::of_rule(rule));
        }
        samples
    }

    fn copied(samples: &Samples, kind: &Kind) -> Option<Vec<Expr>> {
        match samples.copy(Family::V4.filter(), kind)? {
            Change::AddRule { rule, .. } => Some(rule),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_accepts_are_those_of_another_with_the_own_address() {
        let others = [
            rule(End::Destination, &[10, 1, 0, 5], Some(states())),
            rule(End::Source, &[10, 1, 0, 5], None),
        ];
        let own = [
            rule(End::Destination, &[10, 1, 0, 6], Some(states())),
            rule(End::Source, &[10, 1, 0, 6], None),
        ];
        let address = "10.1.0.6".parse().unwrap();
        let samples = samples(&others);
        let copies = [Kind::Answers(address), Kind::From(address)];
        let copies = copies.map(|kind| copied(&samples, &kind).unwrap());
        assert_eq!(copies, own.map(|rule| rule.expressions));
    }

    #[test]
    fn what_no_plugin_has_made_is_no_sample() {
        let mut with_comment = rule(End::Source, &[10, 1, 0, 5], None);
        with_comment.comment = Some("mine".to_owned());
        let mut elsewhere = rule(End::Source, &[10, 1, 0, 5], None);
        elsewhere.chain = "DOCKER-USER".to_owned();
        let limit = Expr::Other("limit".to_owned());
        let limited = rule(End::Source, &[10, 1, 0, 5], Some(limit));
        let found = samples(&[with_comment, elsewhere, limited]);
        assert_eq!(found, Samples::default());
    }

    #[test]
    fn what_is_not_seen_cannot_be_copied() {
        let from = samples(&[rule(End::Source, &[10, 1, 0, 5], None)]);
        let address = "10.1.0.6".parse().unwrap();
        assert!(copied(&from, &Kind::From(address)).is_some());
        assert_eq!(copied(&from, &Kind::Answers(address)), None);
        assert_eq!(copied(&from, &Kind::From("fd00::6".parse().unwrap())), None);
        assert_eq!(copied(&from, &Kind::Return), None);
    }
}
