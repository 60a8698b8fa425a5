//! Runs in pairs: the reference and ours, then ours and the reference, and so on.

use anyhow::{Context as _, Result};

use crate::case::Case;
use crate::machine::others_running;
use crate::run::Took;
use crate::trace::Cost;

/// What a pair consists of, in the order of all arrays of two here.
pub(crate) const REFERENCE: usize = 0;
/// See [`REFERENCE`].
pub(crate) const OURS: usize = 1;

/// The reference's, and ours.
#[derive(Debug)]
pub(crate) struct Both<T>(pub(crate) [T; 2]);

impl<T> Both<T> {
    /// Of a side, [`REFERENCE`] or [`OURS`].
    pub(crate) fn of(&mut self, side: usize) -> Result<&mut T> {
        self.0.get_mut(side).context("no such side")
    }

    /// The same of both.
    pub(crate) fn each<U>(&mut self, act: impl FnMut(&mut T) -> Result<U>) -> Result<[U; 2]> {
        let [reference, ours] = self.0.each_mut().map(act);
        Ok([reference?, ours?])
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The name of its case.
    pub(crate) case: &'static str,
    /// E.g. `ADD`.
    pub(crate) command: &'static str,
    /// By what, e.g. `bridge + host-local`.
    pub(crate) title: &'static str,
}

impl Operation {
    /// Whether it is this one.
    pub(crate) fn is(&self, case: &str, command: &str) -> bool {
        self.case == case && self.command == command
    }
}

impl Case {
    /// One of those that it measures.
    pub(crate) fn operation(&self, command: &'static str) -> Operation {
        Operation {
            case: self.name,
            command,
            title: self.title,
        }
    }
}

/// One operation, measured on both sides.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) operation: Operation,
    /// Milliseconds of every run of each side (microseconds of a connection); the nth of both are a
    /// pair.
    pub(crate) times: [Vec<f64>; 2],
    /// The same until all that a run left running had ended too.
    pub(crate) lasted: [Vec<f64>; 2],
    /// None of a connection, which is no process's; none of a daemon: what it does for one call cannot
    /// be told from the rest; none of many at once, each of which is as one alone.
    pub(crate) costs: Option<[Cost; 2]>,
    /// How many others were running before each pair.
    pub(crate) others: Vec<u32>,
}

impl Row {
    /// How many pairs there are.
    pub(crate) fn pairs(&self) -> usize {
        self.others.len()
    }
}

/// What pairs of runs took.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    times: [Vec<f64>; 2],
    lasted: [Vec<f64>; 2],
    others: Vec<u32>,
}

impl Pairs {
    /// Calls `run(side, pair)` for both sides of each pair; who goes first changes with every pair,
    /// so that what one leaves to the other (a warm cache, a cold one) meets both alike.
    pub(crate) fn take(
        count: usize,
        mut run: impl FnMut(usize, usize) -> Result<Took>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        for pair in 0..count {
            pairs.add(pair, |side| run(side, pair))?;
        }
        Ok(pairs)
    }

    /// The same of two operations of which one undoes the other.
    pub(crate) fn take_both(
        count: usize,
        mut run: impl FnMut(usize, usize) -> Result<[Took; 2]>,
    ) -> Result<[Self; 2]> {
        let [mut done, mut undone] = [Self::default(), Self::default()];
        for pair in 0..count {
            let mut later = [Took::default(); 2];
            done.add(pair, |side| {
                let [first, second] = run(side, pair)?;
                if let Some(later) = later.get_mut(side) {
                    *later = second;
                }
                Ok(first)
            })?;
            undone.add(pair, |side| {
                Ok(later.get(side).copied().unwrap_or_default())
            })?;
        }
        undone.others.clone_from(&done.others);
        Ok([done, undone])
    }

    /// Adds the pair of this number.
    pub(crate) fn add(
        &mut self,
        pair: usize,
        mut run: impl FnMut(usize) -> Result<Took>,
    ) -> Result<()> {
        self.others.push(others_running()?);
        let order = if pair.is_multiple_of(2) {
            [REFERENCE, OURS]
        } else {
            [OURS, REFERENCE]
        };
        for side in order {
            let took = run(side)?;
            for (list, time) in [(&mut self.times, took.answer), (&mut self.lasted, took.all)] {
                if let Some(list) = list.get_mut(side) {
                    list.push(time.as_secs_f64() * 1000.0);
                }
            }
        }
        Ok(())
    }

    /// For what takes so little.
    pub(crate) fn in_microseconds(mut self) -> Self {
        let lists = self.times.iter_mut().chain(&mut self.lasted);
        lists.flatten().for_each(|time| *time *= 1000.0);
        self
    }

    /// The row of these pairs.
    pub(crate) fn row(self, operation: Operation, costs: Option<[Cost; 2]>) -> Row {
        let Self {
            times,
            lasted,
            others,
        } = self;
        Row {
            operation,
            times,
            lasted,
            costs,
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn took(milliseconds: usize) -> Took {
        Took::just(Duration::from_millis(milliseconds as u64))
    }

    #[test]
    fn sides_take_turns_at_going_first() {
        let mut order = Vec::new();
        let pairs = Pairs::take(3, |side, pair| {
            order.push((side, pair));
            Ok(took(side * 10 + pair))
        });
        assert_eq!(order, [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]);
        assert_eq!(
            pairs.unwrap().times,
            [vec![0.0, 1.0, 2.0], vec![10.0, 11.0, 12.0]]
        );
    }

    #[test]
    fn what_undoes_an_operation_is_of_the_same_run() {
        let both = Pairs::take_both(2, |side, pair| {
            let first = 1 + 10 * side + 100 * pair;
            Ok([took(first), took(first + 500)])
        });
        let [done, undone] = both.unwrap();
        assert_eq!(done.times, [vec![1.0, 101.0], vec![11.0, 111.0]]);
        assert_eq!(undone.times, [vec![501.0, 601.0], vec![511.0, 611.0]]);
        assert_eq!(undone.others, done.others);
    }
}
