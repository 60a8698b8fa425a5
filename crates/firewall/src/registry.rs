//! Elements with owner tags in the sets of one table: how they get in, and how they and all that
//! served them alone get out again.
//!
//! Nothing here locks. What is read is read with the generation of the ruleset, and what follows
//! from it is committed on condition that the ruleset is still of that generation; the kernel
//! refuses with ERESTART otherwise, and we look again.

use nix::errno::Errno;

use crate::error::Cause;
use crate::nft::{Answer, Change, Element, Glance, Nft, Question, Rule, Table, Transaction};
use crate::owner::Tag;

/// One table of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registry {
    pub(crate) table: Table,
    /// The chain that has its rules.
    pub(crate) chain: &'static str,
    /// Whether a set goes, with the rule that looks it up, when its last element goes. Otherwise
    /// the sets go together with the table.
    pub(crate) sets_come_and_go: bool,
}

/// Where an element is, or should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) set: String,
    pub(crate) key: Vec<u8>,
}

/// What an element that goes leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    /// These sets have no element any more.
    pub(crate) sets: Vec<String>,
    /// Nor has any other set of the table.
    pub(crate) table: bool,
}

pub(crate) fn tag_of(element: &Element) -> Option<Tag> {
    element.comment.as_deref().and_then(Tag::parse)
}

/// Whether a transaction failed since the ruleset was not the expected one any more.
pub(crate) fn is_stale(cause: &Cause) -> bool {
    cause.errno() == Some(Errno::ERESTART)
}

/// Whether something was there that had not been, or the other way round.
fn is_surprise(cause: &Cause) -> bool {
    matches!(cause.errno(), Some(Errno::ENOENT | Errno::EEXIST))
}

/// What makes all `places` be this owner's: elements of others with the same key (nobody else can
/// have the address now, so they were left behind) are replaced.
pub(crate) fn claim(
    table: Table,
    places: &[Place],
    found: &[Option<Element>],
    comment: &str,
) -> Vec<Change> {
    let owner = Tag::parse(comment);
    let mut changes = Vec::new();
    for (place, found) in places.iter().zip(found) {
        if let Some(element) = found {
            if tag_of(element) == owner {
                continue;
            }
            changes.push(place.delete(table));
        }
        changes.push(place.create(table, comment));
    }
    changes
}

impl Place {
    pub(crate) fn create(&self, table: Table, comment: &str) -> Change {
        Change::CreateElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
            comment: comment.to_owned(),
        }
    }

    pub(crate) fn delete(&self, table: Table) -> Change {
        Change::DeleteElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
        }
    }
}

/// What there is at some places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The ruleset's generation before it was read.
    pub(crate) generation: u32,
    /// Whether there are all sets that were asked for.
    pub(crate) sets: bool,
    /// One answer for each place, in order.
    pub(crate) elements: Vec<Option<Element>>,
}

impl Seen {
    /// Whether nothing but the elements themselves is missing.
    pub(crate) fn is_ready(&self) -> bool {
        self.sets && self.elements.iter().all(Option::is_none)
    }
}

impl Registry {
    pub(crate) fn look_up(
        &self,
        nft: &mut Nft,
        sets: &[&str],
        places: &[Place],
    ) -> Result<Seen, Cause> {
        let sets_first = sets.iter().map(|set| Question::Set(set));
        let elements = places
            .iter()
            .map(|place| Question::Element(&place.set, &place.key));
        let questions: Vec<_> = sets_first.chain(elements).collect();
        let (generation, mut answers) = nft.look_up(self.table, &questions)?;
        let elements = answers.split_off(sets.len());
        Ok(Seen {
            generation,
            sets: answers.iter().all(|answer| *answer == Answer::Set),
            elements: elements
                .into_iter()
                .map(|answer| match answer {
                    Answer::Element(element) => Some(element),
                    Answer::Set | Answer::Absent => None,
                })
                .collect(),
        })
    }

    /// Brings elements in: `complete` plans what else is needed where a look tells that it is not
    /// only the elements.
    ///
    /// The look comes first although the elements alone would do for nearly every ADD, since a
    /// transaction that fails costs an RCU grace period, some 8 ms (`__nf_tables_abort`), and a look
    /// a few microseconds.
    pub(crate) fn add(
        &self,
        nft: &mut Nft,
        sets: &[&str],
        elements: (&[Place], &str),
        complete: impl Fn(&mut Nft, Seen) -> Result<Transaction, Cause>,
    ) -> Result<(), Cause> {
        let limit = nft.limit();
        let (places, comment) = elements;
        loop {
            let mut seen = self.look_up(nft, sets, places)?;
            if !seen.is_ready() {
                seen = self.look_up_settled(nft, sets, places)?;
            }
            let transaction = if seen.is_ready() {
                self.plan_elements(places, comment)
            } else {
                complete(nft, seen)?
            };
            match nft.commit(&transaction) {
                Err(cause) if is_stale(&cause) => {}
                // Without a generation, somebody may have come in between.
                Err(cause) if transaction.generation.is_none() && is_surprise(&cause) => {}
                other => return other,
            }
            limit.retry()?;
        }
    }

    /// Looks until what is seen is certain to be of the generation that it comes with.
    fn look_up_settled(
        &self,
        nft: &mut Nft,
        sets: &[&str],
        places: &[Place],
    ) -> Result<Seen, Cause> {
        let limit = nft.limit();
        loop {
            let generation = nft.generation()?;
            let seen = self.look_up(nft, sets, places)?;
            if seen.generation == generation {
                return Ok(seen);
            }
            limit.retry()?;
        }
    }

    /// The elements alone. They depend on no generation: they fit or they do not.
    pub(crate) fn plan_elements(&self, places: &[Place], comment: &str) -> Transaction {
        Transaction {
            generation: None,
            changes: places
                .iter()
                .map(|place| place.create(self.table, comment))
                .collect(),
        }
    }

    /// Deletes the elements at `places` that are still this owner's. Answers how many were.
    pub(crate) fn remove(
        &self,
        nft: &mut Nft,
        owner: Tag,
        places: &[Place],
    ) -> Result<usize, Cause> {
        let condemned = |seen: &Seen| -> Vec<Place> {
            let found = places.iter().zip(&seen.elements);
            found
                .filter(|(_, found)| found.as_ref().and_then(tag_of) == Some(owner))
                .map(|(place, _)| place.clone())
                .collect()
        };
        match self.look_up(nft, &[], places) {
            Err(cause) if cause.is_unsupported() => return Ok(0),
            Ok(seen) if condemned(&seen).is_empty() => return Ok(0),
            other => drop(other?),
        }
        let limit = nft.limit();
        loop {
            let seen = self.look_up_settled(nft, &[], places)?;
            let condemned = condemned(&seen);
            if condemned.is_empty() {
                return Ok(0);
            }
            let emptied = self.find_emptied(nft, &condemned)?;
            let certain = emptied.is_some();
            let emptied = emptied.unwrap_or_default();
            let rules = self.rules_if(nft, !emptied.sets.is_empty() && !emptied.table)?;
            let removal = self.removal(seen.generation, &condemned, &emptied, &rules);
            match nft.commit(&removal) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                Err(cause) => return Err(cause),
                Ok(()) => {
                    if !certain {
                        self.sweep(nft, |_none| false)?;
                    }
                    return Ok(condemned.len());
                }
            }
        }
    }

    /// Deletes every element whose tag is `condemned`, reading the whole table. Answers how many
    /// there were.
    pub(crate) fn sweep(
        &self,
        nft: &mut Nft,
        condemned: impl Fn(Tag) -> bool,
    ) -> Result<usize, Cause> {
        let limit = nft.limit();
        loop {
            let generation = match nft.generation() {
                Err(cause) if cause.is_unsupported() => return Ok(0),
                other => other?,
            };
            let mut places = Vec::new();
            let mut emptied = Emptied {
                table: true,
                ..Emptied::default()
            };
            let sets = nft.sets(self.table)?;
            for set in &sets {
                let elements = nft.elements(self.table, set)?;
                let (go, stay): (Vec<_>, Vec<_>) = elements
                    .into_iter()
                    .partition(|element| tag_of(element).is_some_and(&condemned));
                if stay.is_empty() {
                    emptied.sets.push(set.clone());
                } else {
                    emptied.table = false;
                }
                places.extend(go.into_iter().map(|element| Place {
                    set: set.clone(),
                    key: element.key,
                }));
            }
            if sets.is_empty() || (places.is_empty() && !self.removes(&emptied)) {
                return Ok(0);
            }
            let rules = self.rules_if(nft, !emptied.sets.is_empty() && !emptied.table)?;
            match nft.commit(&self.removal(generation, &places, &emptied, &rules)) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                Err(cause) => return Err(cause),
                Ok(()) => return Ok(places.len()),
            }
        }
    }

    fn removes(&self, emptied: &Emptied) -> bool {
        emptied.table || (self.sets_come_and_go && !emptied.sets.is_empty())
    }

    fn rules_if(&self, nft: &mut Nft, wanted: bool) -> Result<Vec<Rule>, Cause> {
        if wanted && self.sets_come_and_go {
            nft.rules(self.table, self.chain)
        } else {
            Ok(Vec::new())
        }
    }

    /// Which sets will have no element any more, found out without reading a large set. `None` if
    /// that cannot be told, as when others got in the way of a first attempt.
    fn find_emptied(&self, nft: &mut Nft, condemned: &[Place]) -> Result<Option<Emptied>, Cause> {
        let mut emptied = Emptied::default();
        let mut affected: Vec<String> = Vec::new();
        for place in condemned {
            if !affected.contains(&place.set) {
                affected.push(place.set.clone());
            }
        }
        for set in affected {
            match self.glance(nft, &set, condemned)? {
                Glance::Nothing => emptied.sets.push(set),
                Glance::Others => return Ok(Some(emptied)),
                Glance::Unknown => return Ok(None),
            }
        }
        for set in nft.sets(self.table)? {
            if emptied.sets.contains(&set) {
                continue;
            }
            match self.glance(nft, &set, condemned)? {
                Glance::Nothing => emptied.sets.push(set),
                Glance::Others => return Ok(Some(emptied)),
                Glance::Unknown => return Ok(None),
            }
        }
        emptied.table = true;
        Ok(Some(emptied))
    }

    fn glance(&self, nft: &mut Nft, set: &str, condemned: &[Place]) -> Result<Glance, Cause> {
        nft.glance(self.table, set, |key| {
            condemned
                .iter()
                .any(|place| place.set == set && place.key == key)
        })
    }

    /// The transaction that deletes `condemned` and what is of no use without it.
    pub(crate) fn removal(
        &self,
        generation: u32,
        condemned: &[Place],
        emptied: &Emptied,
        rules: &[Rule],
    ) -> Transaction {
        let table = self.table;
        if emptied.table {
            return Transaction {
                generation: Some(generation),
                changes: vec![Change::DeleteTable(table)],
            };
        }
        let goes = |set: &str| self.sets_come_and_go && emptied.sets.iter().any(|gone| gone == set);
        let mut changes: Vec<Change> = condemned
            .iter()
            .filter(|place| !goes(&place.set))
            .map(|place| place.delete(table))
            .collect();
        changes.extend(
            rules
                .iter()
                .filter(|rule| rule.looks_up().is_some_and(goes))
                .map(|rule| Change::DeleteRule {
                    table,
                    chain: rule.chain.clone(),
                    handle: rule.handle,
                }),
        );
        changes.extend(
            emptied
                .sets
                .iter()
                .filter(|set| goes(set))
                .map(|set| Change::DeleteSet {
                    table,
                    set: set.clone(),
                }),
        );
        Transaction {
            generation: Some(generation),
            changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masquerade;
    use crate::nft::Expr;

    const COMES_AND_GOES: Registry = Registry {
        table: masquerade::TABLE,
        chain: masquerade::CHAIN,
        sets_come_and_go: true,
    };

    fn place(set: &str, last: u8) -> Place {
        Place {
            set: set.to_owned(),
            key: vec![10, 1, 0, last],
        }
    }

    fn rule(set: &str, handle: u64) -> Rule {
        Rule {
            chain: "postrouting".to_owned(),
            handle,
            expressions: vec![Expr::Lookup {
                set: set.to_owned(),
                inverted: false,
            }],
            comment: None,
        }
    }

    fn removal(registry: Registry, emptied: &Emptied) -> Vec<String> {
        let condemned = [place("a", 1), place("b", 2)];
        let rules = [rule("a", 11), rule("b", 12), rule("c", 13)];
        let plan = registry.removal(7, &condemned, emptied, &rules);
        assert_eq!(plan.generation, Some(7));
        plan.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn elements_go_alone_while_others_stay() {
        assert_eq!(
            removal(COMES_AND_GOES, &Emptied::default()),
            [
                "delete element inet tenon_masquerade a",
                "delete element inet tenon_masquerade b",
            ]
        );
    }

    #[test]
    fn an_emptied_set_goes_with_its_rule_first() {
        let emptied = Emptied {
            sets: vec!["b".to_owned()],
            table: false,
        };
        assert_eq!(
            removal(COMES_AND_GOES, &emptied),
            [
                "delete element inet tenon_masquerade a",
                "delete rule inet tenon_masquerade postrouting handle 12",
                "delete set inet tenon_masquerade b",
            ]
        );
        let fixed = Registry {
            sets_come_and_go: false,
            ..COMES_AND_GOES
        };
        assert_eq!(
            removal(fixed, &emptied),
            [
                "delete element inet tenon_masquerade a",
                "delete element inet tenon_masquerade b",
            ]
        );
    }

    #[test]
    fn an_emptied_table_goes_as_a_whole() {
        let emptied = Emptied {
            sets: vec!["a".to_owned(), "b".to_owned()],
            table: true,
        };
        assert_eq!(
            removal(COMES_AND_GOES, &emptied),
            ["delete table inet tenon_masquerade"]
        );
    }
}
