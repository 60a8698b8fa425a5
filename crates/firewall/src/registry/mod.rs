//! Elements with owner tags in the sets and maps of one table: how they get in, and how they and all
//! that served them alone get out again.
//!
//! Nothing here locks. What is read is read with the generation of the ruleset, and what follows
//! from it is committed on condition that the ruleset is still of that generation; the kernel
//! refuses with ERESTART otherwise, and we look again.

mod layout;
mod remove;

use nix::errno::Errno;

use crate::error::Cause;
use crate::nft::{Answer, Change, Element, Nft, Question, Table};
use crate::owner::Tag;

pub(crate) use layout::{Chain, Layout, Observed, Place, Set, SetRule};
pub use layout::{Lack, Missing};

/// How the names of our tables begin; nobody else's do.
pub(crate) const OWN_TABLES: &str = "tenon_";

/// One table of ours, or what we have in somebody else's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registry {
    pub(crate) table: Table,
    /// Whether a set goes, with the rules that serve it, when its last element goes. The others go
    /// together with the table.
    pub(crate) goes_when_empty: fn(&str) -> bool,
}

impl Registry {
    /// Whether the whole table is ours, and goes when it is empty. In a table of somebody else's we
    /// have sets and rules, and they alone are read and removed.
    pub(crate) fn owns_table(&self) -> bool {
        self.table.name.starts_with(OWN_TABLES)
    }
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
    fn is_ready(&self) -> bool {
        self.sets && self.elements.iter().all(Option::is_none)
    }
}

impl Registry {
    fn look_up(&self, nft: &mut Nft, sets: &[Set], places: &[Place]) -> Result<Seen, Cause> {
        let sets_first = sets.iter().map(|set| Question::Set(&set.name));
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

    /// Looks until what is seen is certain to be of the generation that it comes with.
    fn look_up_settled(
        &self,
        nft: &mut Nft,
        sets: &[Set],
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

    /// Brings an attachment in. What others have at its places is replaced: nobody else can have
    /// the address now. `stale` tells what else has to go then.
    ///
    /// The look comes first although the elements alone would do for nearly every ADD, since a
    /// transaction that fails costs an RCU grace period, some 8 ms (`__nf_tables_abort`), and a look
    /// a few microseconds. Elements alone depend on no generation: they fit or they do not.
    pub(crate) fn add(
        &self,
        nft: &mut Nft,
        layout: &Layout,
        comment: &str,
        stale: impl Fn(&mut Nft) -> Result<Vec<Change>, Cause>,
    ) -> Result<(), Cause> {
        let limit = nft.limit();
        loop {
            let seen = self.look_up(nft, &layout.sets, &layout.places)?;
            let transaction = if seen.is_ready() {
                layout.plan_elements(self.table, comment, None)
            } else {
                let seen = self.look_up_settled(nft, &layout.sets, &layout.places)?;
                let stale = stale(nft)?;
                let mut plan = layout.plan(self.table, &self.observe(nft, seen)?, comment);
                plan.changes.extend(stale);
                plan
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

    /// Brings an attachment in if `admit` has no objection to what is there.
    pub(crate) fn add_if(
        &self,
        nft: &mut Nft,
        layout: &Layout,
        comment: &str,
        admit: impl Fn(&mut Nft, &[Option<Element>]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let limit = nft.limit();
        loop {
            let seen = self.look_up_settled(nft, &layout.sets, &layout.places)?;
            admit(nft, &seen.elements)?;
            let transaction = if seen.is_ready() {
                layout.plan_elements(self.table, comment, Some(seen.generation))
            } else {
                layout.plan(self.table, &self.observe(nft, seen)?, comment)
            };
            match nft.commit(&transaction) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                other => return other,
            }
        }
    }

    fn observe(&self, nft: &mut Nft, seen: Seen) -> Result<Observed, Cause> {
        Ok(Observed {
            generation: seen.generation,
            rules: nft.rules(self.table, None)?,
            elements: seen.elements,
        })
    }

    /// What there is at some places, for whoever changes nothing.
    pub(crate) fn find(
        &self,
        nft: &mut Nft,
        places: &[Place],
    ) -> Result<Vec<Option<Element>>, Cause> {
        Ok(self.look_up(nft, &[], places)?.elements)
    }

    /// What is missing of an attachment.
    pub(crate) fn check(
        &self,
        nft: &mut Nft,
        layout: &Layout,
        owner: Tag,
    ) -> Result<Vec<Missing>, Cause> {
        let seen = self.look_up(nft, &[], &layout.places)?;
        let observed = self.observe(nft, seen)?;
        let names: Vec<_> = layout
            .chains
            .iter()
            .map(|chain| (self.table, chain.name))
            .collect();
        let hooks = nft.base_chains(&names)?;
        Ok(layout.missing(self.table, &observed, &hooks, owner))
    }
}
