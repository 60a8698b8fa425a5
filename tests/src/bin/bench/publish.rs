//! Ports of the host are published and withdrawn, and connected to.

use anyhow::Result;

use crate::case::Case;
use crate::pairs::Pairs;
use crate::ports::PortSide;
use crate::progress;
use crate::sitting::{Figures, Sitting};

/// How many connections make a run, whose time is their mean.
const CONNECTIONS: u32 = 100;

/// ADD and DEL of the last of `ports`, and connections to it.
pub(crate) fn take(sitting: &Sitting<'_>, case: &Case, ports: u16) -> Result<Figures> {
    progress(&format!("    {} ports before", ports - 1));
    let mut sides = sitting.both(|suite| PortSide::new(sitting.world, suite, ports))?;
    let [[add_then, del_then], [add_now, del_now]] = sides.each(|side| side.trace())?;
    let pairs = sitting.pairs(case, "ADD and DEL");
    let [added, deleted] = Pairs::take_both(pairs, |side, _| {
        let side = sides.of(side)?;
        Ok([side.add()?, side.del()?])
    })?;
    sides.each(|side| {
        side.add()?;
        side.expect_published()?;
        side.connect(CONNECTIONS)
    })?;
    let pairs = sitting.pairs(case, "connections");
    let connected = Pairs::take(pairs, |side, _| sides.of(side)?.connect(CONNECTIONS))?;
    Ok(Figures {
        rows: vec![
            added.row(case.operation("ADD"), Some([add_then, add_now])),
            deleted.row(case.operation("DEL"), Some([del_then, del_now])),
        ],
        connections: vec![connected.in_microseconds().row(case.operation(""), None)],
        ..Figures::default()
    })
}
