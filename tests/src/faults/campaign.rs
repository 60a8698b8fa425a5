//! All faults of one command of one scene, one after the other.

use std::collections::BTreeMap;
use std::fmt;

use cni_testkit::{Outcome, Runner, Snapshot};
use serde_json::Value;

use super::scene::Scene;
use super::share::Share;
use super::verdict::{Verdict, judge};
use crate::inject::{Fault, Kind, Traced, record, run_with};

/// Whose calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's commands")]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
}

/// What became of a fault after which the container is not as before, as was told.
const EXCUSED: &str = "excused";

/// How many differences are told of a machine that is not as before.
const DIFFERENCES: usize = 20;

/// How often what came of faults.
#[derive(Debug, Default)]
pub struct Tally {
    /// System calls of the undisturbed run.
    calls: usize,
    counts: BTreeMap<String, usize>,
}

impl Tally {
    /// How many faults of a class were met and overcome.
    pub fn overcome(&self, class: &str) -> usize {
        let of_class = format!("{class} overcome");
        self.counts.get(&of_class).copied().unwrap_or(0)
    }
}

/// Has each fault of the share happen once. `make` makes the scene, again after each failure.
///
/// # Panics
/// With the faults that something went wrong after; what it was is on stderr.
pub fn run(command: Command, share: Share, make: &dyn Fn() -> Scene) -> Tally {
    let mut campaign = Campaign::begin(command, make());
    let faults = campaign.faults(share);
    let mut failures = Vec::new();
    for fault in &faults {
        let outcome = campaign.try_out(fault);
        let is_worn = outcome.as_ref().is_ok_and(|what| *what == EXCUSED);
        if let Err(why) = &outcome {
            // At once: a run of everything takes long.
            eprintln!("{fault}: {why}\n");
            failures.push(fault.to_string());
        }
        if is_worn || outcome.is_err() {
            let Campaign {
                tally,
                lists,
                scene,
                ..
            } = campaign;
            drop(scene);
            campaign = Campaign::begin(command, make());
            (campaign.tally, campaign.lists) = (tally, lists);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} faults ({share:?}):\n{}",
        failures.len(),
        faults.len(),
        failures.join("\n")
    );
    campaign.tally
}

struct Campaign {
    command: Command,
    /// What an undisturbed ADD answers.
    result: Value,
    /// The state before an ADD.
    before: Snapshot,
    /// How many lists an undisturbed run asks for.
    lists: usize,
    tally: Tally,
    scene: Scene,
}

impl Campaign {
    fn begin(command: Command, scene: Scene) -> Self {
        let result = scene.add().run().expect_ok().json();
        scene.after("DEL", &result).run().expect_silent_ok();
        scene.reset();
        Self {
            command,
            result,
            before: scene.state(),
            lists: 0,
            tally: Tally::default(),
            scene,
        }
    }

    /// Those of an undisturbed run.
    fn faults(&mut self, share: Share) -> Vec<Fault> {
        let traced = if self.command == Command::Add {
            record(&self.scene.add())
        } else {
            let result = self.scene.add().run().expect_ok().json();
            record(&self.disturbed(&result))
        };
        let _whole = traced.outcome.clone().expect_ok();
        let rest = self.scene.after("DEL", &self.result).run();
        let _gone = rest.expect_silent_ok();
        self.scene.reset();
        self.tally.calls = traced.calls.len();
        self.lists = traced.lists();
        share.of(&traced.calls)
    }

    fn disturbed(&self, result: &Value) -> Runner {
        match self.command {
            Command::Add => self.scene.add(),
            Command::Del => self.scene.after("DEL", result),
            Command::Check => self.scene.after("CHECK", result),
            Command::Gc => self.scene.collect(),
        }
    }

    fn try_out(&mut self, fault: &Fault) -> Result<&'static str, String> {
        let what = match self.command {
            Command::Add => self.add_fails(fault)?,
            Command::Del | Command::Gc => self.removal_fails(fault)?,
            Command::Check => self.check_fails(fault)?,
        };
        let key = match fault.errno() {
            Some(errno) => format!("{} {errno:?} {what}", fault.class()),
            None => format!("{} {what}", fault.class()),
        };
        *self.tally.counts.entry(key).or_default() += 1;
        Ok(what)
    }

    fn run_with(&self, call: &Runner, fault: &Fault) -> Result<Traced, String> {
        let traced = run_with(call, fault);
        let is_list = traced.struck && fault.kind == Kind::Interrupted;
        if is_list && traced.heard_out && traced.lists() <= self.lists {
            let outcome = &traced.outcome;
            return Err(format!("the list is not read again\n{outcome}"));
        }
        Ok(traced)
    }

    /// What came of a call with its fault.
    fn judged(&self, call: &Runner, fault: &Fault) -> Result<(Traced, Verdict), String> {
        let traced = self.run_with(call, fault)?;
        let outcome = &traced.outcome;
        let verdict = judge(self.command, outcome, fault);
        let verdict = verdict.map_err(|why| format!("{why}\n{outcome}"))?;
        Ok((traced, verdict))
    }

    fn add_fails(&self, fault: &Fault) -> Result<&'static str, String> {
        let (traced, verdict) = self.judged(&self.scene.add(), fault)?;
        let outcome = &traced.outcome;
        match verdict {
            Verdict::Success => {
                let result = self.whole(outcome)?;
                succeed("CHECK", &self.scene.after("CHECK", &result).run())?;
                self.delete(&result)?;
                self.scene.reset();
                self.same("after ADD, CHECK and DEL", outcome)?;
            }
            // Of what did not end by itself, only the DEL takes things away.
            Verdict::Silence if outcome.code != 1 => {
                self.delete(&self.result)?;
                if self.scene.needs_collecting {
                    succeed("GC", &self.scene.collect().run())?;
                }
                self.scene.reset();
                self.same("after a crash and DEL", outcome)?;
            }
            Verdict::Silence | Verdict::Told(_) => {
                self.scene.reset_after_failure();
                self.same("after the failed ADD", outcome)?;
                let again = self.scene.add().run();
                let result = self.whole(&again)?;
                self.delete(&result)?;
                self.scene.reset();
            }
        }
        Ok(name(&verdict, traced.struck))
    }

    /// DEL or GC.
    fn removal_fails(&self, fault: &Fault) -> Result<&'static str, String> {
        let result = self.whole(&self.scene.add().run())?;
        let (traced, verdict) = self.judged(&self.disturbed(&result), fault)?;
        let outcome = &traced.outcome;
        if verdict == Verdict::Success {
            succeed("it", outcome)?;
            let excuse = self.scene.excuse;
            if excuse.is_some_and(|words| outcome.stderr.contains(words)) {
                self.same_but_for_the_container(outcome)?;
                return Ok(EXCUSED);
            }
        } else {
            let again = self.disturbed(&result).run();
            succeed("the second one", &again).map_err(|why| format!("{why}\n{outcome}"))?;
        }
        self.scene.reset();
        self.same("in the end", outcome)?;
        Ok(name(&verdict, traced.struck))
    }

    fn check_fails(&self, fault: &Fault) -> Result<&'static str, String> {
        let result = self.whole(&self.scene.add().run())?;
        let (traced, verdict) = self.judged(&self.disturbed(&result), fault)?;
        let outcome = &traced.outcome;
        if verdict == Verdict::Success {
            succeed("CHECK", outcome)?;
        }
        succeed("the CHECK after", &self.disturbed(&result).run())?;
        self.delete(&result)?;
        self.scene.reset();
        self.same("after CHECK and DEL", outcome)?;
        Ok(name(&verdict, traced.struck))
    }

    /// A result with all that an undisturbed one has.
    fn whole(&self, outcome: &Outcome) -> Result<Value, String> {
        if outcome.code != 0 {
            return Err(format!("the ADD after failed\n{outcome}"));
        }
        let result: Value = serde_json::from_slice(&outcome.stdout)
            .map_err(|error| format!("no result: {error}\n{outcome}"))?;
        for key in ["interfaces", "ips", "routes"] {
            let count = |result: &Value| result[key].as_array().map(Vec::len);
            if count(&result) != count(&self.result) {
                return Err(format!("other {key} than undisturbed\n{outcome}"));
            }
        }
        Ok(result)
    }

    fn delete(&self, result: &Value) -> Result<(), String> {
        succeed("DEL", &self.scene.after("DEL", result).run())
    }

    fn same_but_for_the_container(&self, outcome: &Outcome) -> Result<(), String> {
        let in_container = |line: &str| line.starts_with("c1: ");
        let [before, after] = [self.before.clone(), self.scene.state()];
        let [before, after] = [before, after].map(|state| state.without_those(in_container));
        let diff = before.diff(&after);
        if diff.is_empty() {
            return Ok(());
        }
        Err(format!("the host differs:\n{diff}{outcome}"))
    }

    fn same(&self, when: &str, outcome: &Outcome) -> Result<(), String> {
        let diff = self.before.diff(&self.scene.state());
        if diff.is_empty() {
            return Ok(());
        }
        // A link that is left has hundreds of settings.
        let lines: Vec<&str> = diff.lines().take(DIFFERENCES).collect();
        let lines = lines.join("\n");
        Err(format!("{when} the machine differs:\n{lines}\n{outcome}"))
    }
}

fn succeed(what: &str, outcome: &Outcome) -> Result<(), String> {
    if outcome.code == 0 && outcome.stdout.is_empty() {
        return Ok(());
    }
    Err(format!("{what} did not silently succeed\n{outcome}"))
}

fn name(verdict: &Verdict, struck: bool) -> &'static str {
    match verdict {
        _ if !struck => "not met",
        Verdict::Success => "overcome",
        Verdict::Told(_) => "told",
        Verdict::Silence => "silent",
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = self.counts.values().sum();
        write!(f, "{} calls, {all} faults:", self.calls)?;
        self.counts
            .iter()
            .try_for_each(|(what, count)| write!(f, "\n  {count:5} {what}"))
    }
}
