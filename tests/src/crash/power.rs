//! Power losses: links, rules and what is in memory are gone, and of the files there is what was synced, and
//! any of the rest.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::case::{Case, Crashed, Told, add_of_another};
use super::disk::{self, Files, Names};
use super::points;
use super::recorder::Recorder;
use super::scene::{NEIGHBOUR, Scene};

impl Case {
    /// Whatever is left below `roots` of the files of the last plugin after a power loss in `crashed`:
    /// another container is attached and detached, what was attached is detached and collected, and nothing
    /// is left.
    pub fn lose_power(&self, crashed: Crashed, roots: &[&str], names: Names) {
        let mut scene = Scene::new(self);
        scene.settle();
        scene.wipe();
        let recorder = record(&scene, crashed, roots);
        assert!(!recorder.changes.is_empty(), "nothing was written");
        let states = disk::after_power_loss(&recorder.before, &recorder.changes, names);
        let count = states.len();
        let chosen = points::choose_states(u32::try_from(count).unwrap());
        eprintln!(
            "{}: power lost in {crashed:?}: {} changes, {} of {count} states",
            self.name(),
            recorder.changes.len(),
            chosen.len()
        );
        for at in chosen {
            let state = &states[usize::try_from(at).unwrap() - 1];
            let _told = Told(format!("state {at}: {:#?}", told(state)));
            recover(&mut scene, state, &recorder.modes);
        }
    }
}

fn recover(scene: &mut Scene<'_>, state: &Files, modes: &BTreeMap<PathBuf, u32>) {
    scene.wipe();
    scene.renew_pod();
    restore(state, modes);
    let other = scene.world.container(NEIGHBOUR);
    add_of_another(scene, &other, &serde_json::Value::Null);
    scene.collect_garbage();
    scene.assert_settled_anew();
}

fn record(scene: &Scene<'_>, crashed: Crashed, roots: &[&str]) -> Recorder {
    let pod = scene.pod();
    let (last, before) = pod.plugins().split_last().unwrap();
    let mut result = serde_json::Value::Null;
    for plugin in before {
        result = pod.call("ADD", plugin, &result).expect_ok().json();
    }
    let mut recorder = Recorder::new(roots);
    let mut traced = recorder.run(&pod.runner("ADD", last, &result));
    if crashed == Crashed::Del {
        let added = serde_json::from_str(&traced.stdout).unwrap();
        recorder = Recorder::new(roots);
        traced = recorder.run(&pod.runner("DEL", last, &added));
    }
    assert_eq!(traced.code, Some(0), "{}", traced.stdout);
    recorder
}

fn told(state: &Files) -> Vec<String> {
    let text = |content: &Vec<u8>| String::from_utf8_lossy(content).into_owned();
    let entries = state.iter();
    entries
        .map(|(path, content)| format!("{} {:?}", path.display(), content.as_ref().map(text)))
        .collect()
}

/// Directories come before what is in them.
fn restore(state: &Files, modes: &BTreeMap<PathBuf, u32>) {
    for (path, content) in state {
        if let Some(content) = content {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        } else {
            let mode = modes.get(path).copied().unwrap_or(0o755);
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(mode).create(path).unwrap();
        }
    }
}
