//! A chain of plugins, what of it is killed, and what comes next.

use std::fmt;
use std::thread;

use cni_testkit::Netns;
use serde_json::{Value, json};

use super::points;
use super::scene::{NEIGHBOUR, Scene};
use super::tracer::{self, Victim};
use crate::conflist::Attachment;

/// A network whose plugins are killed.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) list: Value,
    pub(super) wishes: fn(&str) -> Value,
    pub(super) fast_paths: Option<&'static str>,
    only: Option<&'static str>,
    /// How many times as many system calls as usual.
    times: u32,
}

/// Which command is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crashed {
    /// ADD of a container.
    Add,
    /// DEL of a container that everything has been made for.
    Del,
}

/// What comes after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// DEL of the whole chain, on a host that has another container.
    Del,
    /// GC of the whole chain with nothing valid, on a host that has no other container.
    Gc,
    /// ADD of another container, which can only get the address that the first one had; DEL of the first, which
    /// must leave it to the other.
    AddWithItsAddress,
    /// On a host that had never seen the network: ADD of another container; then DEL of the first, which
    /// must not harm the other.
    AddOfAnother,
}

/// One crash.
#[derive(Debug)]
struct Point<'a> {
    crashed: Crashed,
    /// Which plugin of the chain.
    plugin: usize,
    plugin_type: &'a str,
    victim: Victim,
    nth: u32,
    next: Next,
}

/// How many crashes there have been.
#[derive(Debug, Default)]
struct Tally {
    points: u32,
    /// It had ended before: what runs at once does not make its calls in the same order each time.
    missed: u32,
}

const VICTIMS: [Victim; 2] = [Victim::Everybody, Victim::Plugin];

impl Case {
    /// All plugins of a list, whose containers wish for nothing.
    pub fn of(list: Value) -> Self {
        Self {
            list,
            wishes: |_id| json!({}),
            fast_paths: None,
            only: None,
            times: 1,
        }
    }

    /// The capability arguments of its containers, by their ids.
    #[must_use]
    pub fn wishes(self, wishes: fn(&str) -> Value) -> Self {
        Self { wishes, ..self }
    }

    /// With a value of `TENON_FAST_PATHS`.
    #[must_use]
    pub fn fast_paths(self, value: &'static str) -> Self {
        let fast_paths = Some(value);
        Self { fast_paths, ..self }
    }

    /// Killed at so many times as many system calls as usual.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Only plugins of this type are killed.
    #[must_use]
    pub fn only(self, plugin_type: &'static str) -> Self {
        let only = Some(plugin_type);
        Self { only, ..self }
    }

    /// Kills a command of each plugin at each of its system calls, or at some of them: see
    /// `points::choose`. After each time, and what comes next, the machine has to be as before.
    pub fn crash(&self, crashed: Crashed, next: Next) {
        let mut scene = Scene::new(self);
        let neighbour = (next == Next::Del).then(|| scene.world.container(NEIGHBOUR));
        if let Some(netns) = &neighbour {
            scene.attachment(NEIGHBOUR, netns).add();
            // An index of leases is made by the first who finds one worth while.
            scene.come_and_go();
        }
        scene.settle();
        let mut tally = Tally::default();
        for plugin in self.killed() {
            for victim in VICTIMS {
                self.crash_one(&mut scene, (crashed, plugin, victim, next), &mut tally);
            }
        }
        let Tally { points, missed } = tally;
        eprintln!(
            "{}: {crashed:?} killed at {points} points, then {next:?}; missed {missed}",
            self.name()
        );
        assert!(points > 0 && missed * 4 < points, "{tally:?}");
    }

    fn crash_one(
        &self,
        scene: &mut Scene<'_>,
        (crashed, plugin, victim, next): (Crashed, usize, Victim, Next),
        tally: &mut Tally,
    ) {
        let mut point = Point {
            crashed,
            plugin,
            plugin_type: self.list["plugins"][plugin]["type"].as_str().unwrap(),
            victim,
            nth: u32::MAX,
            next,
        };
        let count = point.run(scene).syscalls;
        let seed = tally.points + u32::try_from(plugin).unwrap();
        for nth in points::choose(count, self.times, seed) {
            point.nth = nth;
            let _told = Told(format!("{}: {point:?}", self.name()));
            match point.run(scene).killed_at {
                Some(_) => tally.points += 1,
                None => tally.missed += 1,
            }
        }
        eprintln!("{}: {} of {count} system calls", self.name(), point.what());
    }

    fn killed(&self) -> Vec<usize> {
        let plugins = self.list["plugins"].as_array().unwrap().iter();
        let of_interest = |plugin: &Value| self.only.is_none_or(|only| plugin["type"] == only);
        plugins
            .enumerate()
            .filter(|(_, plugin)| of_interest(plugin))
            .map(|(index, _)| index)
            .collect()
    }

    pub(super) fn name(&self) -> String {
        let name = self.list["name"].as_str().unwrap();
        format!("{name} ({})", self.fast_paths.unwrap_or("as usual"))
    }
}

impl Point<'_> {
    /// Makes the machine, the crash, and what comes next. What is not to be killed (a count of
    /// `u32::MAX`) ends by itself.
    fn run(&self, scene: &mut Scene<'_>) -> tracer::Traced {
        if self.next == Next::AddOfAnother {
            scene.wipe();
        }
        let (traced, result) = match self.crashed {
            Crashed::Add => self.kill_add(&scene.pod()),
            Crashed::Del => self.kill_del(&scene.pod()),
        };
        if traced.killed_at.is_none() {
            assert_eq!(traced.code, Some(0), "{}", traced.stdout);
        }
        match self.next {
            Next::Del => {
                scene.pod().del(&result);
                scene.assert_settled();
            }
            Next::Gc => {
                scene.collect_garbage();
                scene.assert_host_settled();
                scene.renew_pod();
            }
            Next::AddWithItsAddress => {
                add_with_its_address(scene, &result);
                scene.assert_settled();
            }
            Next::AddOfAnother => {
                let other = scene.world.container(NEIGHBOUR);
                add_of_another(scene, &other, &result);
                scene.assert_settled_anew();
            }
        }
        traced
    }

    /// The runtime has no result of an ADD that fails.
    fn kill_add(&self, pod: &Attachment<'_>) -> (tracer::Traced, Value) {
        let (plugin, before) = self.split(pod);
        let mut result = Value::Null;
        for earlier in before {
            result = pod.call("ADD", earlier, &result).expect_ok().json();
        }
        let traced = self.kill(pod, "ADD", plugin, &result);
        (traced, Value::Null)
    }

    fn kill_del(&self, pod: &Attachment<'_>) -> (tracer::Traced, Value) {
        let result = pod.add();
        let (plugin, _) = self.split(pod);
        let later = pod.plugins().get(self.plugin + 1..).unwrap();
        for later in later.iter().rev() {
            pod.call("DEL", later, &result).expect_silent_ok();
        }
        (self.kill(pod, "DEL", plugin, &result), result)
    }

    /// The plugin to be killed, and those before it.
    fn split<'b>(&self, pod: &Attachment<'b>) -> (&'b Value, &'b [Value]) {
        let plugins = pod.plugins();
        (&plugins[self.plugin], &plugins[..self.plugin])
    }

    fn kill(
        &self,
        pod: &Attachment<'_>,
        command: &str,
        plugin: &Value,
        result: &Value,
    ) -> tracer::Traced {
        let call = pod.runner(command, plugin, result);
        tracer::kill_at(&call, self.nth, self.victim)
    }

    fn what(&self) -> String {
        format!(
            "{:?} of {} ({:?}, then {:?})",
            self.crashed, self.plugin_type, self.victim, self.next
        )
    }
}

/// It gets all that it needs whatever has been left, and keeps it when that is taken away.
pub(super) fn add_of_another(scene: &Scene<'_>, netns: &Netns, result: &Value) {
    let other = scene.attachment(NEIGHBOUR, netns);
    let added = other.add();
    other.check(&added);
    scene.pod().del(result);
    other.check(&added);
    other.del(&added);
}

/// The network has a single address for containers.
fn add_with_its_address(scene: &Scene<'_>, result: &Value) {
    let [first, second] = [NEIGHBOUR, "second"].map(|name| scene.world.container(name));
    let other = scene.attachment(NEIGHBOUR, &first);
    let add = |attachment: &Attachment<'_>| {
        attachment.call("ADD", &attachment.plugins()[0], &Value::Null)
    };
    let added = add(&other);
    scene.pod().del(result);
    if added.code != 0 {
        // It was not free yet.
        return other.del(&other.add());
    }
    let added = added.json();
    other.check(&added);
    let refused = add(&scene.attachment("second", &second));
    assert_ne!(refused.code, 0, "given twice: {refused}");
    other.del(&added);
}

/// Tells what was under way if the test fails.
pub(super) struct Told(pub(super) String);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{self}");
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
