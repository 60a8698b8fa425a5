//! VERSION: the start of a plugin and nothing else, beside the reference's and beside no program at all.

use anyhow::Result;

use crate::case::Case;
use crate::pairs::{Both, OURS, Pairs};
use crate::run::Call;
use crate::sitting::{Figures, Sitting, WARM_UP};
use crate::trace::traced;

/// Measures VERSION of `plugin`.
pub(crate) fn version(sitting: &Sitting<'_>, case: &Case, plugin: &str) -> Result<Figures> {
    let stdin = br#"{"cniVersion":"1.0.0"}"#;
    let mut calls =
        sitting.both(|suite| Ok(Call::new(suite, plugin, "VERSION", stdin.to_vec())))?;
    let started = starts(&mut calls, sitting.pairs(case, "VERSION"))?;
    let costs = calls.each(|call| Ok(traced(call)?.0))?;
    let operation = case.operation("VERSION");
    let mut figures = Figures::of_plugins(vec![started.row(operation, Some(costs))]);
    if let Some(programs) = sitting.programs {
        let ours = Call::new(sitting.suites[OURS], plugin, "VERSION", stdin.to_vec());
        let mut calls = Both([programs.empty()?, ours]);
        let pairs = sitting.pairs(case, "VERSION, and an empty program");
        figures.floors = vec![starts(&mut calls, pairs)?.row(operation, None)];
    }
    Ok(figures)
}

fn starts(calls: &mut Both<Call>, count: usize) -> Result<Pairs> {
    for _run in 0..WARM_UP {
        calls.each(|call| call.timed())?;
    }
    Pairs::take(count, |side, _| Ok(calls.of(side)?.timed()?.0))
}
