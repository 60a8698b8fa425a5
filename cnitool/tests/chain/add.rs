//! ADD: order, what is handed on, what is kept, what is undone.

use cni_types::Json;
use cnitool::{RuntimeError, Undo};
use serde_json::json;

use crate::fakes::{Fakes, NETNS, network, network_of, target};

const FIRST: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"ct0","sandbox":"/x"}],"ips":[{"address":"10.1.0.2/24","interface":0}]}"#;
const LAST: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}],"dns":{"nameservers":["10.1.0.1"]}}"#;

#[test]
fn each_plugin_gets_the_result_of_the_one_before() {
    let fakes = Fakes::new()
        .answering("first", FIRST)
        .answering("last", LAST);
    let network = network("1.0.0", &["first", "last"]);
    let added = fakes.runtime().add(&network, &target()).unwrap();
    assert_eq!(fakes.order(), ["first ADD", "last ADD"]);
    let calls = fakes.calls();
    assert_eq!(
        calls[0].request,
        json!({"cniVersion": "1.0.0", "name": "net", "type": "first"})
    );
    let first: serde_json::Value = serde_json::from_str(FIRST).unwrap();
    assert_eq!(calls[1].request["prevResult"], first);
    assert_eq!(
        added.to_text().unwrap(),
        r#"{
    "cniVersion": "1.0.0",
    "dns": {
        "nameservers": [
            "10.1.0.1"
        ]
    },
    "ips": [
        {
            "address": "10.1.0.2/24"
        }
    ]
}"#
    );
}

#[test]
fn plugins_see_the_attachment_in_their_environment() {
    let fakes = Fakes::new().answering("a", "{}");
    let mut target = target();
    target.args = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
    fakes
        .runtime()
        .add(&network("1.0.0", &["a"]), &target)
        .unwrap();
    let env = &fakes.calls()[0].env;
    let bin = fakes.path("bin").display().to_string();
    for (name, value) in [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", NETNS),
        ("CNI_IFNAME", "ct0"),
        ("CNI_ARGS", "A=1;B=2"),
        ("CNI_PATH", &bin),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}

#[test]
fn capability_arguments_go_to_who_declares_them() {
    let fakes = Fakes::new().answering("a", "{}").answering("b", "{}");
    let plugins = r#"{"type":"a","capabilities":{"mac":true,"ips":true}},
                     {"type":"b","capabilities":{"mac":false}}"#;
    let mut target = target();
    target.capability_args = vec![("mac".into(), Json::String("02::".into()))];
    fakes
        .runtime()
        .add(&network_of("1.0.0", plugins), &target)
        .unwrap();
    let calls = fakes.calls();
    assert_eq!(calls[0].request["runtimeConfig"], json!({"mac": "02::"}));
    assert_eq!(calls[1].request.get("runtimeConfig"), None);
}

#[test]
fn the_result_is_cached_as_libcni_does() {
    let fakes = Fakes::new().answering("a", LAST);
    let mut target = target();
    target.args = vec![("A".into(), "1".into())];
    target.capability_args = vec![("mac".into(), Json::String("02::".into()))];
    fakes
        .runtime()
        .add(&network("1.0.0", &["a"]), &target)
        .unwrap();
    // base64: {"cniVersion":"1.0.0","name":"net","plugins":[{"type":"a"}]}
    let file = r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6ImEifV19","ifName":"ct0","networkName":"net","netns":"/proc/self/ns/net","cniArgs":[["A","1"]],"capabilityArgs":{"mac":"02::"},"result":{"cniVersion":"1.0.0","dns":{"nameservers":["10.1.0.1"]},"ips":[{"address":"10.1.0.2/24"}]}}"#;
    let cached = fakes.cached();
    assert_eq!(cached.keys().collect::<Vec<_>>(), ["net-c1-ct0"]);
    assert_eq!(cached["net-c1-ct0"], file);
}

#[test]
fn a_result_without_version_is_of_the_configs_and_others_are_converted() {
    for (said, handed_on) in [
        (r#"{"ips":[{"address":"10.1.0.2/24"}]}"#, "1.1.0"),
        (
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.2/24"}}"#,
            "1.1.0",
        ),
    ] {
        let fakes = Fakes::new().answering("a", said).answering("b", LAST);
        let network = network("1.1.0", &["a", "b"]);
        fakes.runtime().add(&network, &target()).unwrap();
        let expected = json!({"cniVersion": handed_on, "ips": [{"address": "10.1.0.2/24"}]});
        assert_eq!(fakes.calls()[1].request["prevResult"], expected, "{said}");
    }
}

#[test]
fn an_old_result_without_address_is_printed_as_it_came() {
    let fakes = Fakes::new().answering("a", r#"{"dns": {}}"#);
    let added = fakes
        .runtime()
        .add(&network("0.2.0", &["a"]), &target())
        .unwrap();
    assert_eq!(
        added.to_text().unwrap(),
        "{\n    \"dns\": {},\n    \"cniVersion\": \"0.2.0\"\n}"
    );
}

#[test]
fn a_failed_chain_is_undone() {
    let fakes = Fakes::new()
        .answering("a", FIRST)
        .failing("b", "ADD")
        .answering("c", "{}");
    let error = fakes
        .runtime()
        .add(&network("1.0.0", &["a", "b", "c"]), &target())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin type=\"b\" failed (add): b cannot; full moon; what had been done was undone"
    );
    assert_eq!(error.to_cni_error().code.0, 42);
    assert_eq!(fakes.order(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
    // The last result that there was.
    let first: serde_json::Value = serde_json::from_str(FIRST).unwrap();
    assert_eq!(fakes.calls()[3].request["prevResult"], first);
    assert!(fakes.cached().is_empty());
}

#[test]
fn a_failed_undo_is_told_too_and_can_be_tried_again() {
    let fakes = Fakes::new().failing("a", "DEL").failing("b", "ADD");
    let (runtime, network) = (fakes.runtime(), network("1.0.0", &["a", "b"]));
    let error = runtime.add(&network, &target()).unwrap_err();
    assert!(matches!(
        &error,
        RuntimeError::Add {
            undo: Undo::Failed(_),
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "plugin type=\"b\" failed (add): b cannot; full moon; undoing it also failed: \
         plugin type=\"a\" failed (delete): a cannot; full moon"
    );
    // GC and del find what is left.
    assert_eq!(fakes.cached().len(), 1);
    let healed = fakes.answering("a", "{}");
    runtime.del(&network, &target()).unwrap();
    assert!(healed.cached().is_empty());
}

#[test]
fn a_second_add_that_fails_does_not_destroy_the_first() {
    let fakes = Fakes::new().answering("a", FIRST);
    let (runtime, network) = (fakes.runtime(), network("1.0.0", &["a"]));
    runtime.add(&network, &target()).unwrap();
    let before = fakes.cached();
    let fakes = fakes.failing("a", "ADD");
    fakes.forget();
    let error = runtime.add(&network, &target()).unwrap_err();
    assert!(matches!(
        error,
        RuntimeError::Add {
            undo: Undo::NotTried,
            ..
        }
    ));
    assert_eq!(fakes.order(), ["a ADD"]);
    assert_eq!(fakes.cached(), before);
}

#[test]
fn an_interface_that_somebody_else_made_is_not_deleted() {
    let fakes = Fakes::new().failing("a", "ADD");
    let mut target = target();
    // Every namespace has this one.
    target.ifname = "lo".parse().unwrap();
    let error = fakes
        .runtime()
        .add(&network("1.0.0", &["a"]), &target)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nothing was undone, because the interface or an earlier add")
    );
    assert_eq!(fakes.order(), ["a ADD"]);
    assert!(fakes.cached().is_empty());
}

#[test]
fn an_add_that_was_interrupted_is_known_and_taken_back() {
    let fakes = Fakes::new().plugin("a", "cp $0/../../cache/results/net-c1-ct0 $call/entry");
    let copy = format!(
        "[ $CNI_COMMAND != ADD ] || cp {}/results/net-c1-ct0 $call/entry; exit 1",
        fakes.path("cache").display()
    );
    let fakes = fakes.plugin("a", &copy);
    let (runtime, network) = (fakes.runtime(), network("1.0.0", &["a"]));
    runtime.add(&network, &target()).unwrap_err();
    let entry = std::fs::read_to_string(fakes.path("log/000.a.ADD/entry")).unwrap();
    assert!(
        entry.contains(r#""containerId":"c1""#) && !entry.contains("result"),
        "{entry}"
    );
    // As after a crash: the next try may undo, even though the interface is there.
    let fakes = fakes.failing("a", "ADD");
    fakes.write_cache(&entry);
    fakes.forget();
    runtime.add(&network, &target()).unwrap_err();
    assert_eq!(fakes.order(), ["a ADD", "a DEL"]);
    assert!(fakes.cached().is_empty());
}

#[test]
fn nothing_is_called_when_a_plugin_is_not_installed() {
    let fakes = Fakes::new().answering("a", "{}");
    let network = network("1.0.0", &["a", "missing"]);
    let error = fakes.runtime().add(&network, &target()).unwrap_err();
    let text = cnitool::chain(&error);
    let bin = fakes.path("bin").display().to_string();
    assert_eq!(
        text,
        format!(
            "plugin type=\"missing\" failed (add): failed to find plugin \"missing\" in path \
             [{bin}]; install it there, or set CNI_PATH"
        )
    );
    assert!(fakes.order().is_empty() && fakes.cached().is_empty());
}

#[test]
fn answers_that_are_no_results_are_explained() {
    for (script, expected) in [
        ("", "it printed nothing where a result was expected"),
        (
            "echo hello",
            "it printed \"hello\" instead of one JSON document: ",
        ),
        (
            "echo '{}{}'",
            "it printed \"{}{}\" instead of one JSON document: ",
        ),
        (
            r#"echo '{"ips": 5}'"#,
            "its result cannot be understood: decode the result: ips: ",
        ),
        (
            r#"echo '{"cniVersion": "3.0.0"}'"#,
            "its result cannot be understood: the result's cniVersion: \
             unsupported CNI version \"3.0.0\"",
        ),
        (
            "[ $CNI_COMMAND = DEL ] || { echo because >&2; exit 7; }",
            "netplugin failed (exit status: 7) without saying why: \"because\"",
        ),
        (
            "[ $CNI_COMMAND = DEL ] || { echo '{\"no\": \"error\"}'; exit 7; }",
            "netplugin failed (exit status: 7) without saying why: \"{\\\"no\\\": \\\"error\\\"}\"",
        ),
        (
            "[ $CNI_COMMAND = DEL ] || kill -9 $$",
            "netplugin failed (signal: 9 (SIGKILL)) without saying why: nothing",
        ),
    ] {
        let fakes = Fakes::new().plugin("a", script);
        let error = fakes
            .runtime()
            .add(&network("1.0.0", &["a"]), &target())
            .unwrap_err();
        let text = error.to_string();
        let prefix = format!("plugin type=\"a\" failed (add): {expected}");
        assert!(text.starts_with(&prefix), "{script}: {text}");
        assert!(
            text.ends_with("; what had been done was undone"),
            "{script}: {text}"
        );
        assert_eq!(fakes.order(), ["a ADD", "a DEL"], "{script}");
    }
}

#[test]
fn without_a_namespace_there_is_no_add() {
    let fakes = Fakes::new().answering("a", "{}");
    let mut target = target();
    target.netns = None;
    let error = fakes
        .runtime()
        .add(&network("1.0.0", &["a"]), &target)
        .unwrap_err();
    assert!(matches!(error, RuntimeError::NoNetns));
    assert!(fakes.order().is_empty());
}
