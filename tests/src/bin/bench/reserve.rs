//! Leases come and go among many that stay: host-local alone, which has no links to make.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, Suite};
use serde_json::Value;

use crate::case::{Case, HOST_LOCAL};
use crate::leases::{self, Filled, found, touch};
use crate::pairs::Pairs;
use crate::progress;
use crate::run::Call;
use crate::side::{address, call, empty};
use crate::sitting::{Figures, Sitting, WARM_UP};
use crate::trace::{Cost, traced};

/// ADD and DEL by turns, so that a nearly full network has room for all; then ADD after somebody else
/// has changed the directory, which makes an index be built anew.
pub(crate) fn take(sitting: &Sitting<'_>, case: &Case, filled: Filled) -> Result<Figures> {
    progress(&format!("    {} leases", filled.count()));
    let mut sides = sitting.both(|suite| Reserve::new(sitting, suite, filled))?;
    for _run in 0..WARM_UP {
        sides.each(|side| side.run(0, Call::timed))?;
    }
    let pairs = sitting.pairs(case, "ADD and DEL");
    let [added, deleted] =
        Pairs::take_both(pairs, |side, pair| sides.of(side)?.run(pair, Call::timed))?;
    let pairs = sitting.pairs(case, "ADD with a changed directory");
    let rebuilt = Pairs::take(pairs, |side, pair| {
        let side = sides.of(side)?;
        touch(&side.directory())?;
        let [added, _] = side.run(pair, Call::timed)?;
        Ok(added)
    })?;
    let [[add_then, del_then], [add_now, del_now]]: [[Cost; 2]; 2] =
        sides.each(|side| side.run(0, traced))?;
    sides.each(|side| side.expect(filled))?;
    Ok(Figures::of_plugins(vec![
        added.row(case.operation("ADD"), Some([add_then, add_now])),
        deleted.row(case.operation("DEL"), Some([del_then, del_now])),
        rebuilt.row(case.operation(REBUILT), None),
    ]))
}

/// What the ADD is called that finds a changed directory.
pub(crate) const REBUILT: &str = "first ADD";

/// A suite's host-local with leases of its own.
#[derive(Debug)]
struct Reserve<'a> {
    suite: &'a Suite,
    container: Netns,
    data_dir: PathBuf,
}

impl<'a> Reserve<'a> {
    fn new(sitting: &Sitting<'_>, suite: &'a Suite, filled: Filled) -> Result<Self> {
        let data_dir = sitting.leases.join(suite.name());
        empty(&data_dir)?;
        let side = Self {
            suite,
            container: sitting.world.container(&format!("{}-1", suite.name())),
            data_dir,
        };
        filled.write(&side.directory())?;
        Ok(side)
    }

    /// Where the network's leases are.
    fn directory(&self) -> PathBuf {
        self.data_dir.join("bench")
    }

    /// ADD and DEL of a container of this number; the lease must come and go.
    fn run<T>(&self, index: usize, run: impl Fn(&Call) -> Result<(T, Vec<u8>)>) -> Result<[T; 2]> {
        let (added, stdout) = run(&self.call("ADD", index)?)?;
        let result: Value = serde_json::from_slice(&stdout).context("decode the result of ADD")?;
        let lease = self.directory().join(address(&result)?.to_string());
        let name = self.suite.name();
        ensure!(lease.exists(), "{name} has no lease after ADD: {result}");
        let (deleted, _) = run(&self.call("DEL", index)?)?;
        ensure!(!lease.exists(), "{name} has a lease after DEL: {result}");
        Ok([added, deleted])
    }

    fn call(&self, command: &'static str, index: usize) -> Result<Call> {
        let confs = HOST_LOCAL.confs(&self.data_dir, 0);
        let conf = confs.into_iter().next().context("no configuration")?;
        Ok(call(
            self.suite,
            command,
            (index, &self.container),
            (conf, &None),
        ))
    }

    /// Makes sure that all leases of others are still there, and no more.
    fn expect(&self, filled: Filled) -> Result<()> {
        let (wanted, name) = (filled.count(), self.suite.name());
        let leases: Vec<IpAddr> = found(&self.data_dir)?;
        let there = leases.len();
        ensure!(
            u32::try_from(there) == Ok(wanted),
            "{name} has {there} leases, not {wanted}"
        );
        leases::written(&self.data_dir)
    }
}
