//! Containers join a network and leave it: one after the other, or many at once.

use anyhow::Result;
use cni_testkit::Suite;

use crate::case::{Case, Network};
use crate::pairs::{Both, Pairs};
use crate::progress;
use crate::side::Side;
use crate::sitting::{Figures, Sitting, WARM_UP};

/// Attached before the first measurement and until the last, as a node has other containers.
const RESIDENT: usize = 0;
/// Attached and detached for what is not timed: warming up, and counting.
pub(crate) const SPARE: usize = 1;
pub(crate) const UNTIMED: usize = 2;

/// ADD for all, then DEL for all.
pub(crate) fn one_by_one(sitting: &Sitting<'_>, case: &Case, network: &Network) -> Result<Figures> {
    let count = sitting.effort.pairs(case);
    let mut sides = sides(sitting, network, count)?;
    let pairs = sitting.pairs(case, "ADD");
    let added = Pairs::take(pairs, |side, pair| sides.of(side)?.add(UNTIMED + pair))?;
    sides.each(|side| side.expect_attached(1 + count))?;
    let pairs = sitting.pairs(case, "DEL");
    let deleted = Pairs::take(pairs, |side, pair| sides.of(side)?.del(UNTIMED + pair))?;
    sides.each(|side| side.expect_attached(1))?;
    let [[add_then, del_then], [add_now, del_now]] = sides.each(|side| side.trace(SPARE))?;
    Ok(Figures::of_plugins(vec![
        added.row(case.operation("ADD"), Some([add_then, add_now])),
        deleted.row(case.operation("DEL"), Some([del_then, del_now])),
    ]))
}

/// ADD for `count` at once, then DEL, again and again.
pub(crate) fn at_once(
    sitting: &Sitting<'_>,
    case: &Case,
    count: u16,
    network: &Network,
) -> Result<Figures> {
    let crowd = UNTIMED..UNTIMED + usize::from(count);
    let mut sides = sides(sitting, network, usize::from(count))?;
    let run = |side: &mut Side<'_>| {
        let added = side.add_together(crowd.clone())?;
        side.expect_attached(1 + crowd.len())?;
        let deleted = side.del_together(crowd.clone())?;
        side.expect_attached(1)?;
        Ok([added.each(count.into())?, deleted.each(count.into())?])
    };
    // The pages of all the processes come from somewhere.
    sides.each(run)?;
    let pairs = sitting.pairs(case, "ADD and DEL");
    let [added, deleted] = Pairs::take_both(pairs, |side, _| run(sides.of(side)?))?;
    Ok(Figures {
        crowds: vec![
            added.row(case.operation("ADD"), None),
            deleted.row(case.operation("DEL"), None),
        ],
        ..Figures::default()
    })
}

fn sides<'a>(sitting: &Sitting<'a>, network: &'a Network, count: usize) -> Result<Both<Side<'a>>> {
    progress(&format!("    {} namespaces", 2 * (UNTIMED + count)));
    sitting.both(|suite| attached(sitting, suite, network, count))
}

/// A host that has attached and detached before, with `count` containers to measure.
pub(crate) fn attached<'a>(
    sitting: &Sitting<'a>,
    suite: &'a Suite,
    network: &'a Network,
    count: usize,
) -> Result<Side<'a>> {
    let mut side = Side::new(
        sitting.world,
        suite,
        network,
        sitting.leases,
        UNTIMED + count,
    )?;
    side.add(RESIDENT)?;
    for _run in 0..WARM_UP {
        side.add(SPARE)?;
        side.del(SPARE)?;
    }
    Ok(side)
}
