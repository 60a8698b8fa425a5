//! Docker against the shim: a container joins a network and leaves it, pair by pair.

use std::time::Duration;

use anyhow::{Result, ensure};
use tenon_tests::cnm::driver::Driver;

use crate::case::Case;
use crate::docker::{Asked, Joins, Network, Node};
use crate::pairs::{OURS, Operation, Pairs, Row};
use crate::progress;
use crate::run::Took;
use crate::sitting::{Sitting, WARM_UP};

/// A network, how Docker is asked, and what the tables call it.
struct Work {
    network: Network,
    asked: Asked,
    title: &'static str,
    /// What they call it without the time that the driver took.
    title_without: Option<&'static str>,
}

const WORKS: [Work; 4] = [
    Work {
        network: Network::Remote,
        asked: Asked::Api,
        title: "remote driver; Docker by its API",
        title_without: Some("the same without the driver's own time"),
    },
    Work {
        network: Network::Remote,
        asked: Asked::Client,
        title: "remote driver; Docker by its client",
        title_without: None,
    },
    Work {
        network: Network::Bridge,
        asked: Asked::Api,
        title: "built-in bridge; Docker by its API",
        title_without: None,
    },
    Work {
        network: Network::Bridge,
        asked: Asked::Client,
        title: "built-in bridge; Docker by its client",
        title_without: None,
    },
];

/// How it went.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Of dockerd.
    pub(crate) version: String,
    /// Docker in the reference's place.
    pub(crate) rows: Vec<Row>,
}

/// Measures all of it.
pub(crate) fn take(sitting: &Sitting<'_>, case: &Case) -> Result<Joining> {
    progress("    starting dockerd and a driver");
    let [_, ours] = sitting.suites;
    let node = Node::start(sitting.world, ours, sitting.leases)?;
    let mut rows = Vec::new();
    for work in &WORKS {
        rows.extend(measure(&node, work, sitting, case)?);
    }
    Ok(Joining {
        version: node.docker_version(),
        rows,
    })
}

fn measure(node: &Node<'_>, work: &Work, sitting: &Sitting<'_>, case: &Case) -> Result<Vec<Row>> {
    let mut docker = node.docker(work.network, work.asked);
    let mut shim = node.shim(work.network, sitting.leases);
    let mut sides: [&mut dyn Joins; 2] = [&mut docker, &mut shim];
    let mut taken = [Taken::default(), Taken::default()];
    for pair in 0..WARM_UP {
        Taken::default().add(pair, node, &mut sides, Step::Join)?;
        Taken::default().add(pair, node, &mut sides, Step::Leave)?;
    }
    let [joined, left] = &mut taken;
    for pair in 0..sitting.pairs(case, work.title) {
        joined.add(pair, node, &mut sides, Step::Join)?;
        left.add(pair, node, &mut sides, Step::Leave)?;
    }
    let [joined, left] = taken;
    let operation = |command, title| Operation {
        case: case.name,
        command,
        title,
    };
    let mut rows = vec![
        joined.whole.row(operation("ADD", work.title), None),
        left.whole.row(operation("DEL", work.title), None),
    ];
    if let Some(title) = work.title_without {
        rows.push(joined.without.row(operation("ADD", title), None));
        rows.push(left.without.row(operation("DEL", title), None));
    }
    Ok(rows)
}

/// What is done to the container.
#[derive(Clone, Copy)]
enum Step {
    Join,
    Leave,
}

/// How long pairs of the same step took, and how long without the driver.
#[derive(Default)]
struct Taken {
    whole: Pairs,
    without: Pairs,
}

impl Taken {
    fn add(
        &mut self,
        pair: usize,
        node: &Node<'_>,
        sides: &mut [&mut dyn Joins; 2],
        step: Step,
    ) -> Result<()> {
        let mut busy = [Duration::ZERO; 2];
        let mut took = [Duration::ZERO; 2];
        self.whole.add(pair, |side| {
            let [docker, shim] = &mut *sides;
            let one: &mut dyn Joins = if side == OURS { *shim } else { *docker };
            let ((elapsed, at_work), is_joined) = run(&node.driver, one, step)?;
            ensure!(is_joined == matches!(step, Step::Join), "nothing was done");
            if let (Some(busy), Some(took)) = (busy.get_mut(side), took.get_mut(side)) {
                (*busy, *took) = (at_work, elapsed);
            }
            Ok(Took::just(elapsed))
        })?;
        self.without.add(pair, |side| {
            let of = |all: &[Duration; 2]| all.get(side).copied().unwrap_or_default();
            Ok(Took::just(of(&took).saturating_sub(of(&busy))))
        })
    }
}

/// One step: how long it took, how long of that the driver was at work, and how it ended.
fn run(driver: &Driver, one: &mut dyn Joins, step: Step) -> Result<((Duration, Duration), bool)> {
    driver.clear_requests();
    let elapsed = match step {
        Step::Join => one.join()?,
        Step::Leave => one.leave()?,
    };
    Ok(((elapsed, driver.busy()), one.is_joined()))
}
