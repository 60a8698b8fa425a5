use super::*;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A plugin that does what `mode` says, and counts.
#[derive(Default)]
struct Fake {
    mode: &'static str,
    calls: Cell<u32>,
    undone: Rc<Cell<u32>>,
}

impl Fake {
    fn call(&self) -> Result<(), CniError> {
        self.calls.set(self.calls.get() + 1);
        match self.mode {
            "fail" => Err(CniError::new(ErrorCode(77), "no").with_details("because")),
            "panic" => panic!("oops"),
            _ => Ok(()),
        }
    }
}

impl Plugin for Fake {
    const INFO: PluginInfo = PluginInfo {
        name: "fake",
        version: "1.2.3",
        supported: SpecVersion::ALL,
    };

    fn modernise(&self, config: &mut Json) {
        if config.get("cniVersion").and_then(Json::as_str) == Some("old") {
            config.set("cniVersion", Json::String("1.0.0".into()));
        }
    }

    fn add(&self, _: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
        let undone = Rc::clone(&self.undone);
        undo.push("undo", move || {
            undone.set(undone.get() + 1);
            Ok(())
        });
        self.call().map(|()| CniResult::default())
    }
    fn del(&self, _: &DelRequest) -> Result<(), CniError> {
        self.call()
    }
    fn check(&self, _: &AttachmentRequest) -> Result<(), CniError> {
        self.call()
    }
    fn gc(&self, _: &GcRequest) -> Result<(), CniError> {
        self.call()
    }
    fn status(&self, _: &Request) -> Result<(), CniError> {
        self.call()
    }
}

struct Reply {
    ok: bool,
    stdout: String,
    stderr: String,
}

impl Reply {
    fn error(&self) -> (u64, String) {
        assert!(!self.ok);
        let doc: Value = serde_json::from_str(&self.stdout).expect("exactly one document");
        (
            doc["code"].as_u64().unwrap(),
            doc["msg"].as_str().unwrap().to_owned(),
        )
    }
}

fn serve_env(plugin: &Fake, vars: &[(&str, &str)], stdin: &str) -> Reply {
    let vars: BTreeMap<&str, &str> = vars.iter().copied().collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = run(
        plugin,
        &mut Host {
            getenv: &|name| vars.get(name).map(|value| (*value).to_owned()),
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            deadline: None,
        },
    );
    Reply {
        ok: code == ExitCode::SUCCESS,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn call(plugin: &Fake, command: &str, stdin: &str) -> Reply {
    let vars = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nonexistent"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    serve_env(plugin, &vars, stdin)
}

fn conf(version: &str) -> String {
    json!({"cniVersion": version, "name": "n", "type": "fake", "cni.dev/valid-attachments": []})
        .to_string()
}

#[test]
fn without_a_command_it_introduces_itself_on_stderr() {
    let reply = serve_env(&Fake::default(), &[], "rubbish");
    assert!(reply.ok && reply.stdout.is_empty());
    assert_eq!(
        reply.stderr,
        "CNI fake plugin v1.2.3 (Tenon)\nCNI protocol versions supported: \
        0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"
    );
}

#[test]
fn version_needs_no_config() {
    let reply = serve_env(&Fake::default(), &[("CNI_COMMAND", "VERSION")], "rubbish");
    assert!(reply.ok && reply.stdout.ends_with('\n'));
    let doc: Value = serde_json::from_str(&reply.stdout).unwrap();
    assert_eq!(doc["cniVersion"], "1.1.0");
    assert_eq!(doc["supportedVersions"].as_array().unwrap().len(), 7);
}

#[test]
fn a_plugin_may_know_configs_of_old() {
    let plugin = Fake::default();
    let reply = call(&plugin, "ADD", &conf("old"));
    assert!(reply.ok, "{}", reply.stdout);
    let doc: Value = serde_json::from_str(&reply.stdout).unwrap();
    assert_eq!(doc["cniVersion"], "1.0.0");
    assert_eq!(call(&plugin, "ADD", &conf("older")).error().0, 1);
}

#[test]
fn errors_come_in_the_references_order() {
    let plugin = Fake::default();
    for (command, stdin, expected) in [
        ("FROB", "{", (6, "error unmarshall network config")),
        (
            "ADD",
            "[]",
            (
                6,
                "error unmarshall network config: it is not a JSON object",
            ),
        ),
        ("FROB", "null", (7, "missing network name")),
        ("FROB", "{}", (7, "missing network name")),
        ("FROB", r#"{"name": "n"}"#, (4, "unknown CNI_COMMAND: FROB")),
        (
            "ADD",
            r#"{"name": "n", "cniVersion": 1}"#,
            (6, "cniVersion: a string is expected"),
        ),
        ("ADD", &conf("0.3.9"), (1, "incompatible CNI versions")),
        ("DEL", &conf("banana"), (1, "incompatible CNI versions")),
        (
            "CHECK",
            &conf("0.3.1"),
            (1, "config version does not allow CHECK"),
        ),
        (
            "CHECK",
            &conf("2.0.0"),
            (1, "plugin version does not allow CHECK"),
        ),
        (
            "CHECK",
            &conf("banana"),
            (6, "cniVersion: \"banana\" is not a version"),
        ),
        ("CHECK", &conf("0.4.5"), (1, "incompatible CNI versions")),
        (
            "GC",
            &conf("1.0.0"),
            (1, "config version does not allow GC"),
        ),
        (
            "STATUS",
            &conf("1.0.0"),
            (1, "config version does not allow STATUS"),
        ),
        (
            "GC",
            r#"{"name": "n", "cniVersion": "1.1.0"}"#,
            (7, "GC without cni.dev/valid-attachments"),
        ),
    ] {
        let (code, msg) = call(&plugin, command, stdin).error();
        assert_eq!(code, expected.0, "{command} {stdin}: {msg}");
        assert!(msg.starts_with(expected.1), "{command} {stdin}: {msg}");
    }
    assert_eq!(plugin.calls.get(), 0);
}

#[test]
fn every_command_of_every_version_reaches_its_handler() {
    for version in SpecVersion::ALL {
        for (command, since) in [
            ("ADD", SpecVersion::V0_3_0),
            ("DEL", SpecVersion::V0_1_0),
            ("CHECK", SpecVersion::V0_4_0),
            ("GC", SpecVersion::V1_1_0),
            ("STATUS", SpecVersion::V1_1_0),
        ] {
            let reply = call(&Fake::default(), command, &conf(version.as_str()));
            assert_eq!(
                reply.ok,
                *version >= since,
                "{command} {version}: {}",
                reply.stdout
            );
            assert_eq!(reply.stdout.is_empty(), reply.ok && command != "ADD");
        }
    }
}

#[test]
fn a_failed_add_is_undone_and_answers_once() {
    for (mode, code) in [("fail", 77), ("panic", 999)] {
        let plugin = Fake {
            mode,
            ..Fake::default()
        };
        assert_eq!(call(&plugin, "ADD", &conf("1.1.0")).error().0, code);
        assert_eq!(plugin.undone.get(), 1, "{mode}");
    }
    let plugin = Fake::default();
    assert!(call(&plugin, "ADD", &conf("1.1.0")).ok);
    assert_eq!(plugin.undone.get(), 0);
}

#[test]
fn a_result_that_the_version_cannot_tell_is_a_failed_add() {
    let plugin = Fake::default();
    let (code, msg) = call(&plugin, "ADD", &conf("0.2.0")).error();
    assert_eq!(
        (code, msg.as_str()),
        (6, "cannot convert: no valid IP addresses")
    );
    assert_eq!(plugin.undone.get(), 1);
}

#[test]
fn a_reply_that_cannot_be_written_is_a_failed_add() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let plugin = Fake::default();
    let text = conf("1.1.0");
    let code = run(
        &plugin,
        &mut Host {
            getenv: &|name| {
                Some(
                    match name {
                        "CNI_COMMAND" => "ADD",
                        "CNI_NETNS_OVERRIDE" => "",
                        _ => "x",
                    }
                    .to_owned(),
                )
            },
            stdin: &mut text.as_bytes(),
            stdout: &mut Closed,
            stderr: &mut Vec::new(),
            deadline: None,
        },
    );
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(plugin.undone.get(), 1);
}

#[test]
fn its_own_namespace_is_refused_before_acting() {
    for command in ["ADD", "DEL", "CHECK"] {
        let plugin = Fake::default();
        let mut vars = vec![
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/x"),
        ];
        let reply = serve_env(&plugin, &vars, &conf("1.1.0"));
        assert_eq!(reply.error().0, 8);
        assert_eq!(plugin.calls.get(), 0);
        vars.push(("CNI_NETNS_OVERRIDE", "True"));
        assert!(serve_env(&plugin, &vars, &conf("1.1.0")).ok);
    }
}

#[test]
fn errors_print_the_specifications_keys() {
    let plugin = Fake {
        mode: "fail",
        ..Fake::default()
    };
    let reply = call(&plugin, "DEL", &conf("0.4.0"));
    assert_eq!(
        reply.stdout,
        "{\n    \"cniVersion\": \"0.4.0\",\n    \"code\": 77,\n    \
        \"msg\": \"no\",\n    \"details\": \"because\"\n}"
    );
}
