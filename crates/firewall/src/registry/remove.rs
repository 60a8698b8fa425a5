//! The way out: elements, and the sets, rules and the table that are of no use without them.

use std::collections::BTreeSet;

use super::{Place, Registry, Seen, is_stale, tag_of};
use crate::error::Cause;
use crate::nft::{Change, Glance, Nft, Rule, Transaction};
use crate::owner::Tag;

/// What elements that go leave behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Emptied {
    /// These sets have no element any more.
    sets: Vec<String>,
    /// Nor has any other set of the table.
    table: bool,
}

impl Registry {
    /// Deletes the elements at `places` that carry a tag that is `condemned`. Answers which did.
    pub(crate) fn remove(
        &self,
        nft: &mut Nft,
        condemned: impl Fn(Tag) -> bool,
        places: &[Place],
    ) -> Result<Vec<Place>, Cause> {
        let pick = |seen: &Seen| -> Vec<Place> {
            let found = places.iter().zip(&seen.elements);
            found
                .filter_map(|(place, found)| {
                    let element = found.as_ref()?;
                    let place = Place {
                        data: element.data.clone(),
                        ..place.clone()
                    };
                    tag_of(element).is_some_and(&condemned).then_some(place)
                })
                .collect()
        };
        match self.look_up(nft, &[], places) {
            Err(cause) if cause.is_unsupported() => return Ok(Vec::new()),
            Ok(seen) if pick(&seen).is_empty() => return Ok(Vec::new()),
            other => drop(other?),
        }
        let limit = nft.limit();
        loop {
            let seen = self.look_up_settled(nft, &[], places)?;
            let go = pick(&seen);
            if go.is_empty() {
                return Ok(go);
            }
            let emptied = self.find_emptied(nft, &go)?;
            let certain = emptied.is_some();
            let emptied = emptied.unwrap_or_default();
            let rules = self.rules_of(nft, &emptied)?;
            match nft.commit(&self.removal(seen.generation, &go, &emptied, &rules)) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                Err(cause) => return Err(cause),
                Ok(()) => {
                    if !certain {
                        self.tidy(nft)?;
                    }
                    return Ok(go);
                }
            }
        }
    }

    /// Deletes every element that carries a tag that is `condemned`, wherever it is: reads the whole
    /// table, once. Answers which those were.
    pub(crate) fn sweep(
        &self,
        nft: &mut Nft,
        condemned: impl Fn(Tag) -> bool,
    ) -> Result<Vec<Place>, Cause> {
        let sets = match nft.sets(self.table) {
            Err(cause) if cause.is_unsupported() => return Ok(Vec::new()),
            other => other?,
        };
        let mut places = Vec::new();
        let mut is_empty = !sets.is_empty() && self.owns_table();
        for set in self.own_sets(sets) {
            for element in nft.elements(self.table, &set)? {
                is_empty = false;
                if tag_of(&element).is_some_and(&condemned) {
                    places.push(Place {
                        set: set.clone(),
                        key: element.key,
                        data: element.data,
                        name: String::new(),
                    });
                }
            }
        }
        // A hash that is being resized is listed from its beginning again (`nft_rhash_walk`), and what
        // is deleted twice is refused.
        let place = |place: &Place| (place.set.clone(), place.key.clone());
        places.sort_unstable_by_key(place);
        places.dedup_by_key(|each| place(each));
        if is_empty {
            self.tidy(nft)?;
        }
        if places.is_empty() {
            return Ok(places);
        }
        self.remove(nft, &condemned, &places)
    }

    /// Removes what has become empty and was not removed with its last element.
    fn tidy(&self, nft: &mut Nft) -> Result<(), Cause> {
        let limit = nft.limit();
        loop {
            let generation = nft.generation()?;
            let sets = nft.sets(self.table)?;
            let mut emptied = Emptied {
                table: true,
                ..Emptied::default()
            };
            let sets = self.own_sets(sets);
            for set in &sets {
                if nft.elements(self.table, set)?.is_empty() {
                    emptied.sets.push(set.clone());
                } else {
                    emptied.table = false;
                }
            }
            emptied.table &= self.owns_table();
            let nothing = !emptied.table && !emptied.sets.iter().any(|set| self.goes(set));
            if sets.is_empty() || nothing {
                return Ok(());
            }
            let rules = self.rules_of(nft, &emptied)?;
            match nft.commit(&self.removal(generation, &[], &emptied, &rules)) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                other => return other,
            }
        }
    }

    /// Those of a table's sets that are ours.
    fn own_sets(&self, mut sets: Vec<String>) -> Vec<String> {
        if !self.owns_table() {
            sets.retain(|set| self.goes(set));
        }
        sets
    }

    fn goes(&self, set: &str) -> bool {
        (self.goes_when_empty)(set)
    }

    /// The rules among which those are that go with a set.
    fn rules_of(&self, nft: &mut Nft, emptied: &Emptied) -> Result<Vec<Rule>, Cause> {
        if !emptied.table && emptied.sets.iter().any(|set| self.goes(set)) {
            nft.rules(self.table, None)
        } else {
            Ok(Vec::new())
        }
    }

    /// Which sets will have no element any more, found out without reading a large set. `None` if
    /// that cannot be told, as when others got in the way of a first attempt.
    fn find_emptied(&self, nft: &mut Nft, go: &[Place]) -> Result<Option<Emptied>, Cause> {
        let mut affected: Vec<&str> = go.iter().map(|place| place.set.as_str()).collect();
        affected.sort_unstable();
        affected.dedup();
        let mut emptied = Emptied::default();
        let mut others = false;
        for set in affected.into_iter().filter(|set| self.goes(set)) {
            match self.glance(nft, set, go)? {
                Glance::Nothing => emptied.sets.push(set.to_owned()),
                Glance::Others => others = true,
                Glance::Unknown => return Ok(None),
            }
        }
        if others || !self.owns_table() {
            return Ok(Some(emptied));
        }
        for set in nft.sets(self.table)? {
            if emptied.sets.contains(&set) {
                continue;
            }
            match self.glance(nft, &set, go)? {
                // A set that goes alone goes only when it was this removal that emptied it.
                Glance::Nothing => {}
                Glance::Others => return Ok(Some(emptied)),
                Glance::Unknown => return Ok(None),
            }
        }
        emptied.table = true;
        Ok(Some(emptied))
    }

    fn glance(&self, nft: &mut Nft, set: &str, go: &[Place]) -> Result<Glance, Cause> {
        let of_set = go.iter().filter(|place| place.set == set);
        let keys: BTreeSet<&[u8]> = of_set.map(|place| place.key.as_slice()).collect();
        nft.glance(self.table, set, |key| keys.contains(key))
    }

    /// The transaction that deletes the elements that go and what is of no use without them.
    fn removal(
        &self,
        generation: u32,
        go: &[Place],
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
        let gone: Vec<&String> = emptied.sets.iter().filter(|set| self.goes(set)).collect();
        let mut changes: Vec<Change> = go
            .iter()
            .filter(|place| !gone.contains(&&place.set))
            .map(|place| place.delete(table))
            .collect();
        let serves_gone = |rule: &&Rule| gone.iter().any(|set| rule.serves(set));
        let rules = rules.iter().filter(serves_gone);
        changes.extend(rules.map(|rule| Change::DeleteRule {
            table,
            chain: rule.chain.clone(),
            handle: rule.handle,
        }));
        changes.extend(gone.iter().map(|set| Change::DeleteSet {
            table,
            set: (*set).clone(),
        }));
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
        goes_when_empty: |_all| true,
    };

    fn place(set: &str, last: u8) -> Place {
        Place {
            set: set.to_owned(),
            key: vec![10, 1, 0, last],
            data: None,
            name: String::new(),
        }
    }

    fn rule(handle: u64, expr: Expr, comment: Option<&str>) -> Rule {
        Rule {
            chain: "postrouting".to_owned(),
            handle,
            expressions: vec![expr],
            comment: comment.map(str::to_owned),
        }
    }

    fn looks_up(set: &str, handle: u64) -> Rule {
        let expr = Expr::Lookup {
            set: set.to_owned(),
            inverted: false,
        };
        rule(handle, expr, None)
    }

    fn removal(registry: Registry, emptied: &Emptied) -> Vec<String> {
        let condemned = [place("a", 1), place("b", 2)];
        let maps = Expr::Map {
            map: "b".to_owned(),
        };
        let rules = [
            looks_up("a", 11),
            looks_up("b", 12),
            looks_up("c", 13),
            rule(14, maps, None),
            rule(15, Expr::Masquerade, Some("b")),
            rule(16, Expr::Masquerade, Some("by hand")),
        ];
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
    fn an_emptied_set_goes_with_its_rules_first() {
        let emptied = Emptied {
            sets: vec!["b".to_owned()],
            table: false,
        };
        assert_eq!(
            removal(COMES_AND_GOES, &emptied),
            [
                "delete element inet tenon_masquerade a",
                "delete rule inet tenon_masquerade postrouting handle 12",
                "delete rule inet tenon_masquerade postrouting handle 14",
                "delete rule inet tenon_masquerade postrouting handle 15",
                "delete set inet tenon_masquerade b",
            ]
        );
        let fixed = Registry {
            goes_when_empty: |_none| false,
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
