//! DEL and CHECK.

use std::time::Duration;

use cni_types::Json;
use cnitool::{Cache, Checked, Invoker, Network, Runtime, RuntimeError};
use serde_json::{Value, json};

use crate::fakes::{Fakes, network, network_of, target};

const RESULT: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}]}"#;

fn result() -> Value {
    serde_json::from_str(RESULT).unwrap()
}

/// Two plugins, an ADD of theirs that has been forgotten but for the cache.
fn added(version: &str) -> (Fakes, Runtime, Network) {
    let fakes = Fakes::new().answering("a", "{}").answering("b", RESULT);
    let runtime = fakes.runtime();
    let plugins = r#"{"type":"a","capabilities":{"mac":true}},{"type":"b"}"#;
    let network = network_of(version, plugins);
    let mut target = target();
    target.args = vec![("A".into(), "1".into())];
    target.capability_args = vec![("mac".into(), Json::String("02::".into()))];
    runtime.add(&network, &target).unwrap();
    fakes.forget();
    (fakes, runtime, network)
}

#[test]
fn del_runs_backwards_with_the_final_result_and_what_was_said_at_the_add() {
    let (fakes, runtime, network) = added("1.0.0");
    runtime.del(&network, &target()).unwrap();
    assert_eq!(fakes.order(), ["b DEL", "a DEL"]);
    for call in fakes.calls() {
        assert_eq!(call.request["prevResult"], result());
        assert_eq!(call.env["CNI_ARGS"], "A=1");
    }
    assert_eq!(
        fakes.calls()[1].request["runtimeConfig"],
        json!({"mac": "02::"})
    );
    assert!(fakes.cached().is_empty());
}

#[test]
fn what_is_said_now_beats_what_was_said_at_the_add() {
    let (fakes, runtime, network) = added("1.0.0");
    let mut target = target();
    target.args = vec![("A".into(), "2".into())];
    target.capability_args = vec![("mac".into(), Json::String("06::".into()))];
    runtime.del(&network, &target).unwrap();
    let call = &fakes.calls()[1];
    assert_eq!(call.env["CNI_ARGS"], "A=2");
    assert_eq!(call.request["runtimeConfig"], json!({"mac": "06::"}));
}

#[test]
fn a_second_del_has_no_result_and_succeeds() {
    let (fakes, runtime, network) = added("1.0.0");
    runtime.del(&network, &target()).unwrap();
    fakes.forget();
    runtime.del(&network, &target()).unwrap();
    assert_eq!(fakes.order(), ["b DEL", "a DEL"]);
    assert_eq!(fakes.calls()[0].request.get("prevResult"), None);
}

#[test]
fn without_a_namespace_del_takes_that_of_the_add() {
    let (fakes, runtime, network) = added("1.0.0");
    let mut target = target();
    target.netns = None;
    runtime.del(&network, &target).unwrap();
    assert_eq!(fakes.calls()[0].env["CNI_NETNS"], crate::fakes::NETNS);
    fakes.forget();
    runtime.del(&network, &target).unwrap();
    assert_eq!(fakes.calls()[0].env["CNI_NETNS"], "");
}

#[test]
fn broken_cache_files_do_not_stop_del() {
    for text in [
        "",
        "{",
        "rubbish",
        r#"{"kind":"cniCacheV1","result":{"ips":1}}"#,
    ] {
        let (fakes, runtime, network) = added("1.0.0");
        fakes.write_cache(text);
        runtime.del(&network, &target()).unwrap();
        assert_eq!(fakes.order(), ["b DEL", "a DEL"], "{text}");
        assert_eq!(fakes.calls()[0].request.get("prevResult"), None, "{text}");
        assert!(fakes.cached().is_empty(), "{text}");
    }
}

#[test]
fn a_result_of_another_version_is_converted() {
    let (fakes, runtime, _) = added("0.4.0");
    let network = network("1.1.0", &["a", "b"]);
    runtime.del(&network, &target()).unwrap();
    let expected = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]});
    assert_eq!(fakes.calls()[0].request["prevResult"], expected);
}

#[test]
fn before_0_4_0_del_knows_no_result() {
    let (fakes, runtime, network) = added("0.3.1");
    runtime.del(&network, &target()).unwrap();
    assert_eq!(fakes.calls()[0].request.get("prevResult"), None);
    assert!(fakes.cached().is_empty());
}

#[test]
fn del_goes_on_after_failures_and_keeps_the_result_for_the_next_try() {
    let (fakes, runtime, _) = added("1.0.0");
    let network = network("1.0.0", &["a", "missing", "b"]);
    let fakes = fakes.failing("b", "DEL");
    let error = runtime.del(&network, &target()).unwrap_err();
    assert_eq!(fakes.order(), ["b DEL", "a DEL"]);
    let text = error.to_string();
    assert!(text.starts_with("plugin type=\"b\" failed (delete): b cannot; full moon; also: "));
    assert!(text.contains("failed to find plugin \"missing\""), "{text}");
    assert_eq!(error.to_cni_error().code.0, 42);
    assert_eq!(fakes.cached().len(), 1);
    let fakes = fakes.answering("b", "{}").answering("missing", "{}");
    fakes.forget();
    runtime.del(&network, &target()).unwrap();
    assert_eq!(fakes.order(), ["b DEL", "missing DEL", "a DEL"]);
    assert_eq!(fakes.calls()[0].request["prevResult"], result());
    assert!(fakes.cached().is_empty());
}

#[test]
fn a_plugin_that_hangs_is_killed_and_the_others_are_called() {
    let (fakes, _, network) = added("1.0.0");
    let fakes = fakes.plugin("b", "sleep 1000");
    let invoker = Invoker::new([fakes.path("bin")]).timeout(Duration::from_millis(500));
    let runtime = Runtime::with(invoker, Cache::at(fakes.path("cache")));
    let error = runtime.del(&network, &target()).unwrap_err();
    let text = cnitool::chain(&error);
    assert!(
        text.ends_with("/b did not finish in time and was killed"),
        "{text}"
    );
    assert_eq!(fakes.order(), ["b DEL", "a DEL"]);
}

#[test]
fn check_runs_forwards_with_the_final_result() {
    let (fakes, runtime, network) = added("1.0.0");
    assert_eq!(runtime.check(&network, &target()).unwrap(), Checked::Passed);
    assert_eq!(fakes.order(), ["a CHECK", "b CHECK"]);
    for call in fakes.calls() {
        assert_eq!(call.request["prevResult"], result());
        assert_eq!(call.env["CNI_ARGS"], "A=1");
    }
    assert_eq!(
        fakes.calls()[0].request["runtimeConfig"],
        json!({"mac": "02::"})
    );
    assert_eq!(fakes.cached().len(), 1);
}

#[test]
fn check_stops_at_the_first_failure() {
    let (fakes, runtime, network) = added("1.0.0");
    let fakes = fakes.failing("a", "CHECK");
    let error = runtime.check(&network, &target()).unwrap_err();
    assert_eq!(
        cnitool::chain(&error),
        "plugin type=\"a\" failed (check): a cannot; full moon"
    );
    assert_eq!(fakes.order(), ["a CHECK"]);
}

#[test]
fn check_needs_a_version_a_result_and_permission() {
    let (fakes, runtime, old) = added("0.3.1");
    let error = runtime.check(&old, &target()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration version \"0.3.1\" does not support the CHECK command"
    );
    assert_eq!(error.to_cni_error().code.0, 1);
    let text =
        r#"{"cniVersion":"1.0.0","name":"net","disableCheck":true,"plugins":[{"type":"a"}]}"#;
    let disabled = Network::parse(text.as_bytes()).unwrap();
    assert_eq!(
        runtime.check(&disabled, &target()).unwrap(),
        Checked::Disabled
    );
    let network = network("1.0.0", &["a", "b"]);
    for lost in [
        "",
        r#"{"kind":"cniCacheV1","containerId":"c1","ifName":"ct0","networkName":"net"}"#,
    ] {
        fakes.write_cache(lost);
        let error = runtime.check(&network, &target()).unwrap_err();
        assert!(matches!(&error, RuntimeError::NoResult { .. }));
        assert!(
            error
                .to_string()
                .contains("/cache/results/net-c1-ct0: was the interface added")
        );
    }
    assert!(fakes.order().is_empty());
}
