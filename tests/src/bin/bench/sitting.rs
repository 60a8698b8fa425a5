//! Runs in pairs: the reference and ours, then ours and the reference, and so on.

use std::path::Path;

use anyhow::{Context as _, Result};
use cni_testkit::{Suite, World};

use crate::case::{Case, Network, Work};
use crate::machine::others_running;
use crate::progress;
use crate::run::Call;
use crate::side::Side;
use crate::trace::{Cost, traced};

/// What a pair consists of, in the order of all arrays of two here.
pub(crate) const REFERENCE: usize = 0;
/// See [`REFERENCE`].
pub(crate) const OURS: usize = 1;

/// Attached before the first measurement and until the last, as a node has other containers.
const RESIDENT: usize = 0;
/// Attached and detached for what is not timed: warming up, and counting.
const SPARE: usize = 1;
const UNTIMED: usize = 2;

/// Where and how often.
#[derive(Debug)]
pub(crate) struct Sitting<'a> {
    pub(crate) world: &'a World,
    /// The reference's and ours.
    pub(crate) suites: [&'a Suite; 2],
    pub(crate) leases: &'a Path,
    pub(crate) pairs: usize,
}

/// One operation, measured on both sides.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was done, e.g. `ADD`.
    pub(crate) command: &'static str,
    /// By what, e.g. `bridge + host-local`.
    pub(crate) title: &'static str,
    /// Milliseconds of every run of each side; the nth of both are a pair.
    pub(crate) times: [Vec<f64>; 2],
    /// Nothing of a daemon: what it does for one call cannot be told from the rest.
    pub(crate) costs: Option<[Cost; 2]>,
    /// How many others were running before each pair.
    pub(crate) others: Vec<u32>,
}

/// What pairs of runs took.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    times: [Vec<f64>; 2],
    others: Vec<u32>,
}

impl Pairs {
    /// Calls `run(side, pair)` for both sides of each pair; who goes first changes with every pair,
    /// so that what one leaves to the other (a warm cache, a cold one) meets both alike.
    fn take(count: usize, mut run: impl FnMut(usize, usize) -> Result<f64>) -> Result<Self> {
        let mut pairs = Self::default();
        for pair in 0..count {
            pairs.add(pair, |side| run(side, pair))?;
        }
        Ok(pairs)
    }

    /// Adds the pair of this number.
    pub(crate) fn add(
        &mut self,
        pair: usize,
        mut run: impl FnMut(usize) -> Result<f64>,
    ) -> Result<()> {
        self.others.push(others_running()?);
        let [reference, ours] = &mut self.times;
        if pair.is_multiple_of(2) {
            reference.push(run(REFERENCE)?);
            ours.push(run(OURS)?);
        } else {
            ours.push(run(OURS)?);
            reference.push(run(REFERENCE)?);
        }
        Ok(())
    }

    /// The row of these pairs.
    pub(crate) fn row(
        self,
        command: &'static str,
        title: &'static str,
        costs: Option<[Cost; 2]>,
    ) -> Row {
        let Self { times, others } = self;
        Row {
            command,
            title,
            times,
            costs,
            others,
        }
    }
}

impl Sitting<'_> {
    /// Measures a case.
    pub(crate) fn take(&self, case: &Case) -> Result<Vec<Row>> {
        match &case.work {
            Work::Version { plugin } => Ok(vec![self.version(case, plugin)?]),
            Work::Attach(network) => self.attach(case, network),
            // Measured against something else, by `join::take`.
            Work::Join => Ok(Vec::new()),
        }
    }

    fn version(&self, case: &Case, plugin: &str) -> Result<Row> {
        progress(&format!("{}: VERSION, {} pairs", case.name, self.pairs));
        let stdin = br#"{"cniVersion":"1.0.0"}"#;
        let [first, second] = self
            .suites
            .map(|suite| Call::new(suite, plugin, "VERSION", stdin.to_vec()));
        let calls = [&first, &second];
        for call in calls {
            call.timed()?;
        }
        let pairs = Pairs::take(self.pairs, |side, _| {
            let call = if side == OURS { &second } else { &first };
            Ok(milliseconds(call.timed()?.0))
        })?;
        let costs = [traced(&first)?.0, traced(&second)?.0];
        Ok(pairs.row("VERSION", case.title, Some(costs)))
    }

    fn attach(&self, case: &Case, network: &Network) -> Result<Vec<Row>> {
        progress(&format!(
            "{}: {} namespaces",
            case.name,
            2 * (self.pairs + UNTIMED)
        ));
        let count = self.pairs + UNTIMED;
        let [reference, ours] = self.suites;
        let mut sides = [
            Side::new(self.world, reference, network, self.leases, count)?,
            Side::new(self.world, ours, network, self.leases, count)?,
        ];
        for side in &mut sides {
            side.add(RESIDENT)?;
            side.add(SPARE)?;
            side.del(SPARE)?;
        }
        progress(&format!("{}: ADD, {} pairs", case.name, self.pairs));
        let added = Pairs::take(self.pairs, |side, pair| {
            let side = sides.get_mut(side).context("no such side")?;
            side.add(UNTIMED + pair).map(milliseconds)
        })?;
        expect_attached(&sides, 1 + self.pairs)?;
        progress(&format!("{}: DEL, {} pairs", case.name, self.pairs));
        let deleted = Pairs::take(self.pairs, |side, pair| {
            let side = sides.get_mut(side).context("no such side")?;
            side.del(UNTIMED + pair).map(milliseconds)
        })?;
        expect_attached(&sides, 1)?;
        let [reference, ours] = &mut sides;
        let ([add_then, del_then], [add_now, del_now]) =
            (reference.trace(SPARE)?, ours.trace(SPARE)?);
        Ok(vec![
            added.row("ADD", case.title, Some([add_then, add_now])),
            deleted.row("DEL", case.title, Some([del_then, del_now])),
        ])
    }
}

fn expect_attached(sides: &[Side<'_>; 2], count: usize) -> Result<()> {
    sides
        .iter()
        .try_for_each(|side| side.expect_attached(count))
}

pub(crate) fn milliseconds(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_at_going_first() {
        let mut order = Vec::new();
        let pairs = Pairs::take(3, |side, pair| {
            order.push((side, pair));
            Ok(f64::from(u32::try_from(side * 10 + pair).unwrap()))
        });
        assert_eq!(order, [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]);
        assert_eq!(
            pairs.unwrap().times,
            [vec![0.0, 1.0, 2.0], vec![10.0, 11.0, 12.0]]
        );
    }
}
