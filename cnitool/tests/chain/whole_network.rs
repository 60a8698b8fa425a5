//! GC, STATUS and VERSION.

use cni_types::config::ValidAttachment;
use cnitool::{Network, Runtime, RuntimeError, Status, Target};
use serde_json::json;

use crate::fakes::{Fakes, network, target};

fn target_called(id: &str, netns: &str) -> Target {
    Target {
        container_id: id.parse().unwrap(),
        netns: Some(netns.into()),
        ..target()
    }
}

fn valid(id: &str) -> ValidAttachment {
    ValidAttachment {
        container_id: id.into(),
        ifname: "ct0".into(),
    }
}

/// Containers `c1` in a living namespace and `c2` in one that is gone, on a network, and `c3` on
/// another one.
fn three_containers(version: &str) -> (Fakes, Runtime, Network) {
    let fakes = Fakes::new().answering("a", "{}").answering("b", "{}");
    let runtime = fakes.runtime();
    let network = network(version, &["a", "b"]);
    runtime.add(&network, &target()).unwrap();
    let mut gone = target_called("c2", "/nonexistent/c2");
    gone.args = vec![("A".into(), "2".into())];
    runtime.add(&network, &gone).unwrap();
    let text = r#"{"cniVersion":"1.1.0","name":"other","plugins":[{"type":"a"}]}"#;
    let other = Network::parse(text.as_bytes()).unwrap();
    runtime
        .add(&other, &target_called("c3", "/nonexistent/c3"))
        .unwrap();
    fakes.forget();
    (fakes, runtime, network)
}

#[test]
fn gc_deletes_what_is_not_valid_and_tells_the_plugins_what_is() {
    let (fakes, runtime, network) = three_containers("1.1.0");
    let collected = runtime.gc(&network, &[valid("c1")]).unwrap();
    assert_eq!(fakes.order(), ["b DEL", "a DEL", "a GC", "b GC"]);
    let calls = fakes.calls();
    assert_eq!(calls[0].env["CNI_CONTAINERID"], "c2");
    assert_eq!(calls[0].env["CNI_NETNS"], "/nonexistent/c2");
    assert_eq!(calls[0].env["CNI_ARGS"], "A=2");
    assert_eq!(
        calls[0].request["prevResult"],
        json!({"cniVersion": "1.1.0"})
    );
    let list = json!([{"containerID": "c1", "ifname": "ct0"}]);
    let request = json!({"cniVersion": "1.1.0", "name": "net", "type": "a",
        "cni.dev/valid-attachments": list, "cni.dev/attachments": list});
    assert_eq!(calls[2].request, request);
    assert_eq!(
        (
            calls[2].env["CNI_CONTAINERID"].as_str(),
            calls[2].env["CNI_NETNS"].as_str()
        ),
        ("", "")
    );
    assert!(collected.plugins_called && !collected.disabled);
    let deleted: Vec<_> = collected
        .deleted
        .iter()
        .map(|e| e.container_id.as_str())
        .collect();
    assert_eq!(deleted, ["c2"]);
    let left: Vec<_> = fakes.cached().into_keys().collect();
    assert_eq!(left, ["net-c1-ct0", "other-c3-ct0"]);
}

#[test]
fn an_empty_list_of_valid_attachments_is_sent_as_one() {
    let (fakes, runtime, network) = three_containers("1.1.0");
    runtime.gc(&network, &[]).unwrap();
    let calls = fakes.calls();
    assert_eq!(
        calls.last().unwrap().request["cni.dev/valid-attachments"],
        json!([])
    );
    assert_eq!(
        fakes.cached().into_keys().collect::<Vec<_>>(),
        ["other-c3-ct0"]
    );
}

#[test]
fn attachments_of_living_namespaces_are_live() {
    let (_fakes, runtime, network) = three_containers("1.1.0");
    let live = runtime.live_attachments(&network).unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].container_id, "c1");
    let stale = runtime.stale_attachments(&network, &[valid("c1")]).unwrap();
    assert_eq!(stale[0].container_id, "c2");
}

#[test]
fn gc_goes_on_after_failures() {
    let (fakes, runtime, network) = three_containers("1.1.0");
    let fakes = fakes.failing("a", "DEL").failing("b", "GC");
    let error = runtime.gc(&network, &[]).unwrap_err();
    let RuntimeError::Several(list) = &error else {
        panic!("{error}")
    };
    let plugins: Vec<_> = list.errors().iter().map(|e| cnitool::chain(e)).collect();
    let failed = |plugin: &str, phase: &str| {
        format!("plugin type=\"{plugin}\" failed ({phase}): {plugin} cannot; full moon")
    };
    assert_eq!(
        plugins,
        [
            failed("a", "delete"),
            failed("a", "delete"),
            failed("b", "gc")
        ]
    );
    assert_eq!(
        fakes.order(),
        ["b DEL", "a DEL", "b DEL", "a DEL", "a GC", "b GC"]
    );
    assert_eq!(fakes.cached().len(), 3);
}

#[test]
fn before_1_1_0_gc_is_only_deletes() {
    let (fakes, runtime, network) = three_containers("1.0.0");
    let collected = runtime.gc(&network, &[valid("c1")]).unwrap();
    assert!(!collected.plugins_called);
    assert_eq!(fakes.order(), ["b DEL", "a DEL"]);
}

#[test]
fn disabled_gc_does_nothing() {
    let (fakes, runtime, _) = three_containers("1.1.0");
    let text = r#"{"cniVersion":"1.1.0","name":"net","disableGC":true,"plugins":[{"type":"a"}]}"#;
    let collected = runtime
        .gc(&Network::parse(text.as_bytes()).unwrap(), &[])
        .unwrap();
    assert!(collected.disabled);
    assert!(fakes.order().is_empty());
    assert_eq!(fakes.cached().len(), 3);
}

#[test]
fn status_asks_in_order_and_stops_at_the_first_error() {
    let fakes = Fakes::new()
        .answering("a", "{}")
        .failing("b", "STATUS")
        .answering("c", "{}");
    let runtime = fakes.runtime();
    let error = runtime
        .status(&network("1.1.0", &["a", "b", "c"]))
        .unwrap_err();
    assert_eq!(fakes.order(), ["a STATUS", "b STATUS"]);
    assert_eq!(error.to_cni_error().code.0, 42);
    fakes.forget();
    assert_eq!(
        runtime.status(&network("1.1.0", &["a", "c"])).unwrap(),
        Status::Ready
    );
    assert_eq!(
        runtime.status(&network("1.0.0", &["b"])).unwrap(),
        Status::Unknown
    );
    assert_eq!(fakes.order(), ["a STATUS", "c STATUS"]);
    let expected = json!({"cniVersion": "1.1.0", "name": "net", "type": "a"});
    assert_eq!(fakes.calls()[0].request, expected);
}

const VERSIONS: &str = r#"echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0"]}'"#;

#[test]
fn versions_are_what_the_plugin_says() {
    let fakes = Fakes::new().plugin("a", VERSIONS);
    let network = network("1.0.0", &["a"]);
    let versions = fakes.runtime().versions(&network.plugins()[0]).unwrap();
    assert_eq!(versions.supported, ["0.4.0", "1.0.0"]);
    assert_eq!(versions.binary, fakes.path("bin/a"));
    assert_eq!(fakes.calls()[0].request, json!({"cniVersion": "1.1.0"}));
}

#[test]
fn a_network_is_valid_when_all_of_its_plugins_speak_its_version() {
    let fakes = Fakes::new().plugin("a", VERSIONS).plugin("b", "exit 1");
    let runtime = fakes.runtime();
    let text = r#"{"cniVersion":"1.0.0","name":"net","plugins":[
        {"type":"a","capabilities":{"mac":true,"ips":false}},
        {"type":"a","capabilities":{"mac":true,"aliases":true}}]}"#;
    let capabilities = runtime
        .validate(&Network::parse(text.as_bytes()).unwrap())
        .unwrap();
    assert_eq!(capabilities, ["aliases", "mac"]);
    let error = runtime
        .validate(&network("1.1.0", &["a", "b", "c"]))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "plugin type=\"a\" failed (version): it does not support config version 1.1.0; \
             it supports 0.4.0, 1.0.0; also: plugin type=\"b\" failed (version): netplugin failed"
        ),
        "{text}"
    );
    assert!(text.contains("failed to find plugin \"c\""), "{text}");
}
