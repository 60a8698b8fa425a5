//! All cases, one after the other, on the same machine.

use std::path::Path;

use anyhow::Result;
use cni_testkit::{Suite, World};

use crate::case::{Case, Work};
use crate::floor::{self, Part, Programs};
use crate::pairs::{Both, Row};
use crate::{attach, progress, publish, reserve, start};

/// How many runs come before those that are counted: they find cold caches.
pub(crate) const WARM_UP: usize = 3;

/// Where and how often.
#[derive(Debug)]
pub(crate) struct Sitting<'a> {
    pub(crate) world: &'a World,
    /// The reference's and ours.
    pub(crate) suites: [&'a Suite; 2],
    pub(crate) leases: &'a Path,
    /// What is compared with the floor; None where builds are compared.
    pub(crate) programs: Option<&'a Programs>,
    pub(crate) effort: Effort,
}

/// How many pairs of runs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As many as each case has.
    Usual,
    /// A few, to see whether all works.
    Quick,
    /// So many of each.
    Exactly(u16),
}

impl Effort {
    const FEW: u16 = 5;

    /// Of this case.
    pub(crate) fn pairs(self, case: &Case) -> usize {
        usize::from(match self {
            Self::Usual => case.pairs,
            Self::Quick => case.pairs.min(Self::FEW),
            Self::Exactly(pairs) => pairs,
        })
    }
}

/// What a case found out.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Operations of plugins.
    pub(crate) rows: Vec<Row>,
    /// Operations of many plugins at once: milliseconds of each.
    pub(crate) crowds: Vec<Row>,
    /// Operations of plugins, against the least that they could take.
    pub(crate) floors: Vec<Row>,
    /// What that least consists of.
    pub(crate) parts: Vec<Part>,
    /// Connections to published ports.
    pub(crate) connections: Vec<Row>,
}

impl Figures {
    /// Adds what another case found out.
    pub(crate) fn extend(&mut self, others: Self) {
        self.rows.extend(others.rows);
        self.crowds.extend(others.crowds);
        self.floors.extend(others.floors);
        self.parts.extend(others.parts);
        self.connections.extend(others.connections);
    }

    /// Those of operations of plugins.
    pub(crate) fn of_plugins(rows: Vec<Row>) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }
}

impl<'a> Sitting<'a> {
    /// Measures a case.
    pub(crate) fn take(&self, case: &Case) -> Result<Figures> {
        match &case.work {
            Work::Version { plugin } => start::version(self, case, plugin),
            Work::Reserve(filled) => reserve::take(self, case, *filled),
            Work::Attach(network) => attach::one_by_one(self, case, network),
            Work::Crowd { count, network } => attach::at_once(self, case, *count, network),
            Work::Floor => floor::take(self, case),
            Work::Publish { ports } => publish::take(self, case, *ports),
            // Measured against something else, by `join::take`.
            Work::Join => Ok(Figures::default()),
        }
    }

    /// One for each side.
    pub(crate) fn both<T>(&self, make: impl FnMut(&'a Suite) -> Result<T>) -> Result<Both<T>> {
        let [reference, ours] = self.suites.map(make);
        Ok(Both([reference?, ours?]))
    }

    /// How many pairs of runs a case takes, whose next operations are announced.
    pub(crate) fn pairs(&self, case: &Case, operations: &str) -> usize {
        let pairs = self.effort.pairs(case);
        progress(&format!("    {operations}: {pairs} pairs"));
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;

    #[test]
    fn slow_cases_are_taken_less_often_and_quick_ones_hardly() {
        let case = |name: &str| CASES.iter().find(|case| case.name == name).unwrap();
        assert!(Effort::Usual.pairs(case("ports-5000")) < Effort::Usual.pairs(case("bridge")));
        assert_eq!(Effort::Quick.pairs(case("bridge")), 5);
        assert_eq!(Effort::Exactly(7).pairs(case("ports-5000")), 7);
    }
}
