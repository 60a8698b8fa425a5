//! Fake delegates: shell scripts in a directory that goes in front of `CNI_PATH`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::World;

/// A directory of fake plugins. See [`crate::Runner::path_first`].
#[derive(Debug)]
pub struct Fakes<'world> {
    world: &'world World,
}

/// What a [`Fakes::recording`] delegate was given.
#[derive(Debug)]
pub struct Recording {
    dir: PathBuf,
}

/// One call that a delegate got.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its `CNI_COMMAND`.
    pub command: String,
    /// Its environment, `KEY=value` each.
    pub env: Vec<String>,
    /// Its stdin.
    pub stdin: Value,
}

impl<'world> Fakes<'world> {
    /// An empty directory in this world.
    #[must_use]
    pub fn new(world: &'world World) -> Self {
        fs::create_dir_all(world.dir().join("fakes")).unwrap();
        Self { world }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.world.dir().join("fakes")
    }

    /// A plugin that runs these shell lines, after its stdin is in `$stdin`.
    pub fn script(&self, plugin_type: &str, lines: &str) -> PathBuf {
        let text = format!("#!/bin/sh\nstdin=$(cat)\n{lines}\n");
        self.world.executable(&format!("fakes/{plugin_type}"), text)
    }

    /// Answers ADD with `result` and everything else with success.
    pub fn answering(&self, plugin_type: &str, result: &Value) {
        self.script(plugin_type, &on_add(&print(&result.to_string())));
    }

    /// Fails every command with this error document.
    pub fn failing(&self, plugin_type: &str, code: u32, msg: &str) {
        let error = json!({"cniVersion": "1.0.0", "code": code, "msg": msg});
        self.script(
            plugin_type,
            &format!("{}\nexit 1", print(&error.to_string())),
        );
    }

    /// Answers ADD with `result`, fails the other commands.
    pub fn failing_after_add(&self, plugin_type: &str, result: &Value, msg: &str) {
        let error = json!({"cniVersion": "1.0.0", "code": 100, "msg": msg}).to_string();
        let lines = format!(
            "{}\n{}\nexit 1",
            on_add(&format!("{}\nexit 0", print(&result.to_string()))),
            print(&error)
        );
        self.script(plugin_type, &lines);
    }

    /// Exits with 1 and says something on stderr only.
    pub fn failing_without_words(&self, plugin_type: &str, stderr: &str) {
        self.script(plugin_type, &format!("{} >&2\nexit 1", print(stderr)));
    }

    /// Never answers an ADD; DEL succeeds.
    pub fn hanging(&self, plugin_type: &str) {
        self.script(plugin_type, &on_add("exec sleep 1000"));
    }

    /// Never answers anything.
    pub fn hanging_always(&self, plugin_type: &str) {
        self.script(plugin_type, "exec sleep 1000");
    }

    /// Prints `text` on ADD and succeeds.
    pub fn printing(&self, plugin_type: &str, text: &str) {
        self.script(plugin_type, &on_add(&print(text)));
    }

    /// Prints the same result twice on ADD.
    pub fn two_documents(&self, plugin_type: &str, result: &Value) {
        self.printing(plugin_type, &format!("{result}\n{result}"));
    }

    /// Keeps environment and stdin of every call, answers ADD with `result`.
    #[must_use]
    pub fn recording(&self, plugin_type: &str, result: &Value) -> Recording {
        let dir = self.world.dir().join("recorded").join(plugin_type);
        fs::create_dir_all(&dir).unwrap();
        let keep = format!(
            "cd {}\nn=$(ls | wc -l)\nmkdir \"$n\"\nenv >\"$n/env\"\nprintf '%s' \"$stdin\" >\"$n/stdin\"\n",
            dir.display()
        );
        self.script(plugin_type, &(keep + &on_add(&print(&result.to_string()))));
        Recording { dir }
    }
}

impl Recording {
    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        (0..1000)
            .map(|n| self.dir.join(n.to_string()))
            .take_while(|dir| dir.exists())
            .map(|dir| read_call(&dir))
            .collect()
    }

    /// The `CNI_COMMAND`s so far, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.command).collect()
    }
}

impl Call {
    /// The value of an environment variable.
    #[must_use]
    pub fn var(&self, key: &str) -> Option<&str> {
        self.env
            .iter()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

fn read_call(dir: &Path) -> Call {
    let env: Vec<String> = fs::read_to_string(dir.join("env"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let stdin = serde_json::from_slice(&fs::read(dir.join("stdin")).unwrap()).unwrap_or_default();
    let mut call = Call {
        command: String::new(),
        env,
        stdin,
    };
    call.command = call.var("CNI_COMMAND").unwrap_or_default().to_owned();
    call
}

fn on_add(lines: &str) -> String {
    format!("if [ \"$CNI_COMMAND\" = ADD ]; then\n{lines}\nfi")
}

/// A shell command that prints `text` and a newline.
fn print(text: &str) -> String {
    format!("printf '%s\\n' '{}'", text.replace('\'', r"'\''"))
}

/// An IPAM result of one address.
#[must_use]
pub fn ipam_result(version: &str, address: &str, gateway: &str) -> Value {
    json!({"cniVersion": version, "ips": [{"address": address, "gateway": gateway}]})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Runner;

    #[test]
    fn a_recording_keeps_calls_and_answers() {
        let world = World::new();
        let fakes = Fakes::new(&world);
        let recording = fakes.recording("ipam", &ipam_result("1.0.0", "10.0.0.2/24", "10.0.0.1"));
        let call = Runner::new(&fakes.dir(), "ipam")
            .stdin(r#"{"it's": 1}"#)
            .container_id("c1");
        let result = call.clone().command("ADD").run().expect_ok().json();
        assert_eq!(result["ips"][0]["address"], "10.0.0.2/24");
        call.command("DEL").run().expect_silent_ok();
        assert_eq!(recording.commands(), ["ADD", "DEL"]);
        assert_eq!(recording.calls()[0].stdin, json!({"it's": 1}));
        assert_eq!(recording.calls()[1].var("CNI_CONTAINERID"), Some("c1"));
        assert_eq!(recording.calls()[1].var("HOME"), None);
    }

    #[test]
    fn a_failing_one_fails() {
        let world = World::new();
        let fakes = Fakes::new(&world);
        fakes.failing("ipam", 77, "it's broken");
        let error = Runner::new(&fakes.dir(), "ipam")
            .command("ADD")
            .run()
            .expect_error(77);
        assert_eq!(error["msg"], "it's broken");
    }

    #[test]
    fn a_hanging_one_is_killed_and_orphans_are_named() {
        let world = World::new();
        let fakes = Fakes::new(&world);
        fakes.hanging("ipam");
        let call = Runner::new(&fakes.dir(), "ipam").command("ADD");
        let outcome = call.timeout(Duration::from_millis(200)).run();
        assert!(outcome.timed_out);
        assert_eq!(outcome.code, -9);
        fakes.script("parent", "sleep 1000 >/dev/null 2>&1 &");
        let outcome = Runner::new(&fakes.dir(), "parent").command("ADD").run();
        assert_eq!(outcome.code, 0);
        assert_eq!(outcome.orphans.len(), 1, "{outcome}");
    }

    #[test]
    #[should_panic(expected = "stdout is not one JSON document")]
    fn two_documents_are_not_one() {
        let world = World::new();
        let fakes = Fakes::new(&world);
        fakes.two_documents("ipam", &json!({}));
        let _ = Runner::new(&fakes.dir(), "ipam")
            .command("ADD")
            .run()
            .json();
    }
}
