//! What one of our tables has to hold for an attachment, as a value: planned from it, and compared
//! with it.

use std::fmt;

use crate::nft::{BaseChain, Change, Element, Expr, Hook, Rule, Table, Transaction, Type};
use crate::owner::Tag;

use super::{OWN_TABLES, tag_of};

/// Everything that an attachment needs in a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) chains: Vec<Chain>,
    pub(crate) sets: Vec<Set>,
    pub(crate) places: Vec<Place>,
}

/// A chain, which all attachments share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// `None`: other chains call it.
    pub(crate) hook: Option<Hook>,
    /// The rules that it begins with, in this order.
    pub(crate) rules: Vec<Vec<Expr>>,
}

/// A set or a map, which attachments share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) key: Type,
    /// What a map maps to.
    pub(crate) data: Option<Type>,
    /// The rules that are of use only with it.
    pub(crate) rules: Vec<SetRule>,
}

/// A rule that comes and goes with a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetRule {
    pub(crate) chain: &'static str,
    pub(crate) rule: Vec<Expr>,
    /// Names the set in a comment: for a rule that does not look it up.
    pub(crate) named: bool,
}

/// An element: where it is, what it maps to if anything, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) set: String,
    pub(crate) key: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) name: String,
}

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The ruleset's generation when it was read.
    pub(crate) generation: u32,
    /// All rules of the table, those of each chain in order.
    pub(crate) rules: Vec<Rule>,
    /// One answer for each place, in order.
    pub(crate) elements: Vec<Option<Element>>,
}

/// Something that ADD made and that is not there any more, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// In which table.
    pub table: Table,
    /// What.
    pub what: Lack,
}

/// What is missing in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// A chain is not called by the kernel as it should be.
    Chain(&'static str),
    /// A chain does not begin with its rules.
    Rules(&'static str),
    /// A set has not all of its rules.
    SetRules(String),
    /// An element, as people call it.
    Element(String),
    /// An element that is tagged as somebody else's.
    ElementOfOther {
        /// As people call it.
        name: String,
        /// Its comment.
        comment: String,
    },
    /// An element of a map that leads elsewhere.
    ElementDiffers(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table;
        match &self.what {
            Lack::Chain(chain) => write!(f, "chain {table} {chain} is missing or not at its hook"),
            Lack::Rules(chain) => write!(f, "chain {table} {chain} does not begin with its rules"),
            Lack::SetRules(set) => write!(f, "table {table} has not all rules for {set}"),
            Lack::Element(name) => write!(f, "no element for {name} in table {table}"),
            Lack::ElementOfOther { name, comment } => write!(
                f,
                "the element for {name} in table {table} is of another owner: {comment}"
            ),
            Lack::ElementDiffers(name) => {
                write!(f, "the element for {name} in table {table} leads elsewhere")
            }
        }
    }
}

impl Chain {
    /// Where its own rules are, if they are all there, at its beginning and in order.
    fn begins_right(&self, rules: &[Rule]) -> bool {
        let mut of_chain = rules.iter().filter(|rule| rule.chain == self.name);
        self.rules.iter().all(|wanted| {
            of_chain
                .next()
                .is_some_and(|rule| rule.expressions == *wanted)
        })
    }

    /// Takes away what is left of its own rules and puts all of them in front.
    fn repair(&self, table: Table, rules: &[Rule], changes: &mut Vec<Change>) {
        if self.begins_right(rules) {
            return;
        }
        let leftovers = rules
            .iter()
            .filter(|rule| rule.chain == self.name && self.rules.contains(&rule.expressions));
        changes.extend(leftovers.map(|rule| Change::DeleteRule {
            table,
            chain: rule.chain.clone(),
            handle: rule.handle,
        }));
        let in_front = self.rules.iter().rev();
        changes.extend(in_front.map(|rule| Change::InsertRule {
            table,
            chain: self.name,
            rule: rule.clone(),
        }));
    }
}

impl SetRule {
    fn is_in(&self, rules: &[Rule]) -> bool {
        rules
            .iter()
            .any(|has| has.chain == self.chain && has.expressions == self.rule)
    }
}

impl Place {
    fn create(&self, table: Table, comment: &str) -> Change {
        Change::CreateElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
            data: self.data.clone(),
            comment: comment.to_owned(),
        }
    }

    pub(super) fn delete(&self, table: Table) -> Change {
        Change::DeleteElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
        }
    }

    /// What is wrong with what is found here.
    fn lack(&self, found: Option<&Element>, owner: Tag) -> Option<Lack> {
        let name = || self.name.clone();
        match found {
            None => Some(Lack::Element(name())),
            Some(element) if tag_of(element) != Some(owner) => Some(Lack::ElementOfOther {
                name: name(),
                comment: element.comment.clone().unwrap_or_default(),
            }),
            Some(element) if element.data != self.data => Some(Lack::ElementDiffers(name())),
            Some(_right) => None,
        }
    }
}

impl Layout {
    /// The elements alone.
    pub(super) fn plan_elements(
        &self,
        table: Table,
        comment: &str,
        generation: Option<u32>,
    ) -> Transaction {
        Transaction {
            generation,
            changes: self
                .places
                .iter()
                .map(|place| place.create(table, comment))
                .collect(),
        }
    }

    /// All that is missing. Elements of others with the same key are replaced: whoever plans has
    /// found out that they were left behind.
    pub(crate) fn plan(&self, table: Table, observed: &Observed, comment: &str) -> Transaction {
        let mut changes = Vec::new();
        if table.name.starts_with(OWN_TABLES) {
            changes.push(Change::AddTable(table));
        }
        changes.extend(self.chains.iter().map(|chain| Change::AddChain {
            table,
            chain: chain.name,
            hook: chain.hook,
        }));
        changes.extend(self.sets.iter().map(|set| Change::AddSet {
            table,
            set: set.name.clone(),
            key: set.key,
            data: set.data,
        }));
        for chain in &self.chains {
            chain.repair(table, &observed.rules, &mut changes);
        }
        for set in &self.sets {
            let missing = set.rules.iter().filter(|rule| !rule.is_in(&observed.rules));
            changes.extend(missing.map(|rule| Change::AddRule {
                table,
                chain: rule.chain,
                rule: rule.rule.clone(),
                comment: rule.named.then(|| set.name.clone()),
            }));
        }
        self.claim(table, observed, comment, &mut changes);
        Transaction {
            generation: Some(observed.generation),
            changes,
        }
    }

    fn claim(&self, table: Table, observed: &Observed, comment: &str, changes: &mut Vec<Change>) {
        let owner = Tag::parse(comment);
        for (place, found) in self.places.iter().zip(&observed.elements) {
            if let Some(element) = found {
                if tag_of(element) == owner && element.data == place.data {
                    continue;
                }
                changes.push(place.delete(table));
            }
            changes.push(place.create(table, comment));
        }
    }

    /// What is not there. `hooks` has one answer for each chain.
    pub(super) fn missing(
        &self,
        table: Table,
        observed: &Observed,
        hooks: &[Option<BaseChain>],
        owner: Tag,
    ) -> Vec<Missing> {
        let mut lacks = Vec::new();
        for (chain, found) in self.chains.iter().zip(hooks) {
            let is_called = |hook: &Hook| found.as_ref().is_some_and(|found| hook.is_of(found));
            if chain.hook.is_some_and(|hook| !is_called(&hook)) {
                lacks.push(Lack::Chain(chain.name));
            }
            if !chain.begins_right(&observed.rules) {
                lacks.push(Lack::Rules(chain.name));
            }
        }
        for set in &self.sets {
            if !set.rules.iter().all(|rule| rule.is_in(&observed.rules)) {
                lacks.push(Lack::SetRules(set.name.clone()));
            }
        }
        let places = self.places.iter().zip(&observed.elements);
        lacks.extend(places.filter_map(|(place, found)| place.lack(found.as_ref(), owner)));
        lacks
            .into_iter()
            .map(|what| Missing { table, what })
            .collect()
    }
}

#[cfg(test)]
mod tests;
