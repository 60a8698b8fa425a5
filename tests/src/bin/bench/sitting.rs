//! Runs in pairs: the reference and ours, then ours and the reference, and so on.

use std::path::Path;

use anyhow::{Context as _, Result};
use cni_testkit::{Suite, World};

use crate::case::{Case, Network, Work};
use crate::machine::others_running;
use crate::ports::PortSide;
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

/// More ports than this take the reference long.
const MANY: u16 = 1000;
/// How many connections make a run, whose time is their mean.
const CONNECTIONS: u32 = 100;

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
    /// Milliseconds of every run of each side (microseconds of a connection); the nth of both are a
    /// pair.
    pub(crate) times: [Vec<f64>; 2],
    /// None of a connection, which is no process's; none of a daemon: what it does for one call cannot
    /// be told from the rest.
    pub(crate) costs: Option<[Cost; 2]>,
    /// How many others were running before each pair.
    pub(crate) others: Vec<u32>,
}

/// What a case found out.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Operations of plugins.
    pub(crate) rows: Vec<Row>,
    /// Connections to published ports.
    pub(crate) connections: Vec<Row>,
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
    pub(crate) fn take(&self, case: &Case) -> Result<Figures> {
        let of_plugins = |rows| Figures {
            rows,
            connections: Vec::new(),
        };
        match &case.work {
            Work::Version { plugin } => Ok(of_plugins(vec![self.version(case, plugin)?])),
            Work::Attach(network) => Ok(of_plugins(self.attach(case, network)?)),
            Work::Publish { ports } => self.publish(case, *ports),
            // Measured against something else, by `join::take`.
            Work::Join => Ok(Figures::default()),
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

    fn publish(&self, case: &Case, ports: u16) -> Result<Figures> {
        progress(&format!("{}: {} ports before", case.name, ports - 1));
        let [reference, ours] = self.suites;
        let mut sides = [
            PortSide::new(self.world, reference, ports)?,
            PortSide::new(self.world, ours, ports)?,
        ];
        let [reference, ours] = &sides;
        let ([add_then, del_then], [add_now, del_now]) = (reference.trace()?, ours.trace()?);
        // The reference takes seconds where there are many.
        let count = if ports > MANY {
            self.pairs.min(20)
        } else {
            self.pairs
        };
        progress(&format!("{}: ADD and DEL, {count} pairs", case.name));
        let mut deletions = [Vec::new(), Vec::new()];
        let added = Pairs::take(count, |side, _| {
            let (ports, times) = (sides.get(side), deletions.get_mut(side));
            let (ports, times) = ports.zip(times).context("no such side")?;
            let added = ports.add()?;
            times.push(milliseconds(ports.del()?));
            Ok(milliseconds(added))
        })?;
        let deleted = Pairs {
            times: deletions,
            others: added.others.clone(),
        };
        for side in &mut sides {
            side.add()?;
            side.expect_published()?;
            side.connect(CONNECTIONS)?;
        }
        progress(&format!("{}: connections, {} pairs", case.name, self.pairs));
        let connected = Pairs::take(self.pairs, |side, _| {
            let side = sides.get_mut(side).context("no such side")?;
            side.connect(CONNECTIONS)
                .map(|time| 1000.0 * milliseconds(time))
        })?;
        Ok(Figures {
            rows: vec![
                added.row("ADD", case.title, Some([add_then, add_now])),
                deleted.row("DEL", case.title, Some([del_then, del_now])),
            ],
            connections: vec![connected.row("", case.title, None)],
        })
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
