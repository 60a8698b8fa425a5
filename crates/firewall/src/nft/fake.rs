//! A ruleset in memory, for tests without a kernel and without root: it holds what transactions
//! make, answers questions, refuses what `nf_tables` would refuse, and fails when it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use nix::errno::Errno;

use super::change::{Change, Family, Hook, Table, Transaction};
use super::expr::Expr;
use super::query::{Answer, Glance, Question};
use super::view::{BaseChain, Element, HookedChain, Rule};
use crate::error::Cause;

/// The rules, sets and elements of one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableState {
    chains: BTreeMap<String, Option<Hook>>,
    sets: BTreeMap<String, BTreeMap<Vec<u8>, Element>>,
    rules: Vec<Rule>,
}

/// A whole ruleset.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    tables: BTreeMap<(String, String), TableState>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    generation: u32,
    last_handle: u64,
    commits: usize,
    /// Why the next commit is refused.
    refusal: Option<Errno>,
    /// Whether somebody else changes something before the next commit.
    overtaken: bool,
}

/// The ruleset. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(Rc<RefCell<Inner>>);

fn key(table: Table) -> (String, String) {
    (table.family.to_string(), table.name.to_owned())
}

fn refused(change: &Change, errno: Errno) -> Cause {
    Cause::Kernel {
        request: change.to_string(),
        errno,
        message: None,
    }
}

fn base(hook: Hook) -> BaseChain {
    BaseChain {
        kind: hook.kind.to_owned(),
        number: hook.number,
        priority: hook.priority,
    }
}

fn looks_up(rule: &Rule, set: &str) -> bool {
    rule.expressions.iter().any(|expr| match expr {
        Expr::Lookup { set: found, .. } | Expr::Map { map: found } => found == set,
        _ => false,
    })
}

impl TableState {
    fn apply(&mut self, change: &Change, handle: &mut u64) -> Result<(), Errno> {
        match change {
            Change::AddTable(_) | Change::DeleteTable(_) => {}
            Change::AddChain { chain, hook, .. } => {
                self.chains.entry((*chain).to_owned()).or_insert(*hook);
            }
            Change::DeleteChain { chain, .. } => {
                if self.rules.iter().any(|rule| rule.chain == *chain) {
                    return Err(Errno::EBUSY);
                }
                self.chains.remove(chain).ok_or(Errno::ENOENT)?;
            }
            Change::FlushChain { chain, .. } => {
                self.chains.get(chain).ok_or(Errno::ENOENT)?;
                self.rules.retain(|rule| rule.chain != *chain);
            }
            Change::AddRule {
                chain,
                rule,
                comment,
                ..
            } => {
                let made = self.rule(chain, rule, comment.clone(), handle)?;
                self.rules.push(made);
            }
            Change::InsertRule { chain, rule, .. } => {
                let made = self.rule(chain, rule, None, handle)?;
                self.rules.insert(0, made);
            }
            Change::DeleteRule { handle, .. } => {
                let at = self.rules.iter().position(|rule| rule.handle == *handle);
                self.rules.remove(at.ok_or(Errno::ENOENT)?);
            }
            other => self.apply_to_set(other)?,
        }
        Ok(())
    }

    fn apply_to_set(&mut self, change: &Change) -> Result<(), Errno> {
        match change {
            Change::AddSet { set, .. } => {
                self.sets.entry(set.clone()).or_default();
            }
            Change::DeleteSet { set, .. } => {
                if self.rules.iter().any(|rule| looks_up(rule, set)) {
                    return Err(Errno::EBUSY);
                }
                self.sets.remove(set).ok_or(Errno::ENOENT)?;
            }
            Change::CreateElement {
                set,
                key,
                data,
                comment,
                ..
            } => {
                let elements = self.sets.get_mut(set).ok_or(Errno::ENOENT)?;
                if elements.contains_key(key) {
                    return Err(Errno::EEXIST);
                }
                let element = Element {
                    key: key.clone(),
                    data: data.clone(),
                    comment: Some(comment.clone()),
                };
                elements.insert(key.clone(), element);
            }
            Change::DeleteElement { set, key, .. } => {
                let elements = self.sets.get_mut(set).ok_or(Errno::ENOENT)?;
                elements.remove(key).ok_or(Errno::ENOENT)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn rule(
        &self,
        chain: &str,
        rule: &[Expr],
        comment: Option<String>,
        handle: &mut u64,
    ) -> Result<Rule, Errno> {
        self.chains.get(chain).ok_or(Errno::ENOENT)?;
        *handle += 1;
        let made = Rule {
            chain: chain.to_owned(),
            handle: *handle,
            expressions: rule.to_vec(),
            comment,
        };
        let known = |expr: &Expr| match expr {
            Expr::Lookup { set, .. } | Expr::Map { map: set } => self.sets.contains_key(set),
            _ => true,
        };
        if made.expressions.iter().all(known) {
            Ok(made)
        } else {
            Err(Errno::ENOENT)
        }
    }
}

impl State {
    fn apply(&mut self, change: &Change, handle: &mut u64) -> Result<(), Errno> {
        match change {
            Change::AddTable(table) => {
                self.tables.entry(key(*table)).or_default();
                Ok(())
            }
            Change::DeleteTable(table) => {
                let gone = self.tables.remove(&key(*table));
                gone.map(drop).ok_or(Errno::ENOENT)
            }
            Change::AddChain { table, .. }
            | Change::DeleteChain { table, .. }
            | Change::FlushChain { table, .. }
            | Change::AddRule { table, .. }
            | Change::InsertRule { table, .. }
            | Change::DeleteRule { table, .. }
            | Change::AddSet { table, .. }
            | Change::DeleteSet { table, .. }
            | Change::CreateElement { table, .. }
            | Change::DeleteElement { table, .. } => self
                .tables
                .get_mut(&key(*table))
                .ok_or(Errno::ENOENT)?
                .apply(change, handle),
        }
    }
}

impl Fake {
    /// What it holds now, handles apart.
    pub(crate) fn state(&self) -> State {
        let mut state = self.0.borrow().state.clone();
        let rules = state.tables.values_mut().flat_map(|table| &mut table.rules);
        rules.for_each(|rule| rule.handle = 0);
        state
    }

    /// How many transactions were carried out.
    pub(crate) fn commits(&self) -> usize {
        self.0.borrow().commits
    }

    /// Refuses the next commit.
    pub(crate) fn refuse(&self, errno: Errno) {
        self.0.borrow_mut().refusal = Some(errno);
    }

    /// Lets somebody else be quicker with the next commit.
    pub(crate) fn overtake(&self) {
        self.0.borrow_mut().overtaken = true;
    }

    pub(super) fn commit(&self, transaction: &Transaction) -> Result<(), Cause> {
        let mut inner = self.0.borrow_mut();
        let Some(first) = transaction.changes.first() else {
            return Ok(());
        };
        if let Some(errno) = inner.refusal.take() {
            return Err(refused(first, errno));
        }
        if std::mem::take(&mut inner.overtaken) {
            inner.generation += 1;
        }
        let expected = transaction.generation;
        if expected.is_some_and(|expected| expected != inner.generation) {
            return Err(refused(first, Errno::ERESTART));
        }
        let (mut next, mut handle) = (inner.state.clone(), inner.last_handle);
        for change in &transaction.changes {
            next.apply(change, &mut handle)
                .map_err(|errno| refused(change, errno))?;
        }
        (inner.state, inner.last_handle) = (next, handle);
        inner.generation += 1;
        inner.commits += 1;
        Ok(())
    }

    pub(super) fn generation(&self) -> u32 {
        self.0.borrow().generation
    }

    fn of<T>(&self, table: Table, read: impl FnOnce(&TableState) -> T) -> Option<T> {
        self.0.borrow().state.tables.get(&key(table)).map(read)
    }

    pub(super) fn ask(&self, table: Table, questions: &[Question<'_>]) -> (u32, Vec<Answer>) {
        let answer = |question: &Question<'_>| {
            self.of(table, |table| match question {
                Question::Set(set) => table.sets.contains_key(*set).then_some(Answer::Set),
                Question::Element(set, key) => {
                    let element = table.sets.get(*set)?.get(*key)?;
                    Some(Answer::Element(element.clone()))
                }
            })
        };
        let answers = questions.iter();
        let answers = answers.map(|one| answer(one).flatten().unwrap_or(Answer::Absent));
        (self.generation(), answers.collect())
    }

    pub(super) fn rules(&self, table: Table, chain: Option<&str>) -> Vec<Rule> {
        let wanted = |rule: &&Rule| chain.is_none_or(|chain| rule.chain == chain);
        let found = self.of(table, |table| {
            table.rules.iter().filter(wanted).cloned().collect()
        });
        found.unwrap_or_default()
    }

    pub(super) fn sets(&self, table: Table) -> Vec<String> {
        let found = self.of(table, |table| table.sets.keys().cloned().collect());
        found.unwrap_or_default()
    }

    pub(super) fn sets_of_family(&self, family: Family) -> Vec<(String, String)> {
        let inner = self.0.borrow();
        let tables = inner.state.tables.iter();
        tables
            .filter(|((of, _), _)| *of == family.to_string())
            .flat_map(|((_, name), table)| {
                let sets = table.sets.keys();
                sets.map(|set| (name.clone(), set.clone()))
            })
            .collect()
    }

    pub(super) fn hooked_chains(&self, family: Family) -> Vec<HookedChain> {
        let inner = self.0.borrow();
        let tables = inner.state.tables.iter();
        tables
            .filter(|((of, _), _)| *of == family.to_string())
            .flat_map(|((_, name), table)| {
                let hooked = table.chains.iter();
                hooked.filter_map(|(chain, hook)| {
                    Some(HookedChain {
                        table: name.clone(),
                        chain: chain.clone(),
                        hook: base((*hook)?),
                        drops: false,
                    })
                })
            })
            .collect()
    }

    pub(super) fn elements(&self, table: Table, set: &str) -> Vec<Element> {
        let found = self.of(table, |table| {
            let set = table.sets.get(set)?;
            Some(set.values().cloned().collect())
        });
        found.flatten().unwrap_or_default()
    }

    pub(super) fn base_chains(&self, chains: &[(Table, &str)]) -> Vec<Option<BaseChain>> {
        let hook = |(table, chain): &(Table, &str)| {
            self.of(*table, |table| table.chains.get(*chain).copied().flatten())
                .flatten()
        };
        chains.iter().map(|one| hook(one).map(base)).collect()
    }

    pub(super) fn have_chains(&self, chains: &[(Table, &str)]) -> Vec<bool> {
        let has = |(table, chain): &(Table, &str)| {
            self.of(*table, |table| table.chains.contains_key(*chain))
        };
        chains.iter().map(|one| has(one) == Some(true)).collect()
    }

    pub(super) fn glance(
        &self,
        table: Table,
        set: &str,
        expected: impl Fn(&[u8]) -> bool,
    ) -> Glance {
        let elements = self.elements(table, set);
        if elements.iter().all(|element| expected(&element.key)) {
            Glance::Nothing
        } else {
            Glance::Others
        }
    }
}
