//! The documents that plugins get on stdin ([specification, section 3, "Deriving execution
//! configuration from plugin configuration"]). Pure.
//!
//! [specification, section 3, "Deriving execution configuration from plugin configuration"]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#deriving-request-configuration-from-plugin-configuration

use cni_types::Json;
use cni_types::config::ValidAttachment;

use crate::network::{Network, Plugin};

/// What every plugin of a network gets: its own object with the network's name and version.
pub(crate) fn base(network: &Network, plugin: &Plugin) -> Json {
    let mut request = plugin.config().clone();
    request.set("name", Json::String(network.name().to_string()));
    request.set("cniVersion", Json::String(network.version().to_string()));
    request
}

/// ADD, DEL and CHECK: also the result so far, and the capability arguments that the plugin
/// declares and the runtime supplies. `capabilities` stays, as libcni leaves it.
pub(crate) fn for_attachment(
    network: &Network,
    plugin: &Plugin,
    prev_result: Option<&Json>,
    capability_args: &[(String, Json)],
) -> Json {
    let mut request = base(network, plugin);
    if let Some(prev_result) = prev_result {
        request.set("prevResult", prev_result.clone());
    }
    let declared = capability_args.iter().filter(|(key, _)| plugin.takes(key));
    let runtime_config: Vec<_> = declared.cloned().collect();
    if !runtime_config.is_empty() {
        request.set("runtimeConfig", Json::Object(runtime_config));
    }
    request
}

/// GC: the attachments to keep, also under the name the key had before the specification was
/// final.
pub(crate) fn for_gc(network: &Network, plugin: &Plugin, valid: &[ValidAttachment]) -> Json {
    let text = |key: &str, value: &str| (key.to_owned(), Json::String(value.to_owned()));
    let object = |valid: &ValidAttachment| {
        Json::Object(vec![
            text("containerID", &valid.container_id),
            text("ifname", &valid.ifname),
        ])
    };
    let list = Json::Array(valid.iter().map(object).collect());
    let mut request = base(network, plugin);
    request.set("cni.dev/attachments", list.clone());
    request.set("cni.dev/valid-attachments", list);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(plugin: &str) -> Network {
        let text = format!(r#"{{"cniVersion": "1.1.0", "name": "net", "plugins": [{plugin}]}}"#);
        Network::parse(text.as_bytes()).unwrap()
    }

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn attach(plugin: &str, prev: Option<&str>, args: &[(&str, &str)]) -> String {
        let network = network(plugin);
        let args: Vec<_> = args.iter().map(|(k, v)| ((*k).into(), json(v))).collect();
        let prev = prev.map(json);
        for_attachment(&network, &network.plugins()[0], prev.as_ref(), &args).to_string()
    }

    #[test]
    fn unknown_keys_pass_through_untouched() {
        let plugin = r#"{"type": "x", "b": [1, 2.5, 9007199254740993, null], "a": {"Z": {}}}"#;
        assert_eq!(
            attach(plugin, None, &[]),
            r#"{"type":"x","b":[1,2.5,9007199254740993,null],"a":{"Z":{}},"name":"net","cniVersion":"1.1.0"}"#
        );
    }

    #[test]
    fn the_lists_name_and_version_replace_the_plugins_own() {
        let plugin = r#"{"Name": "other", "CNIVersion": "0.2.0", "type": "x"}"#;
        assert_eq!(
            attach(plugin, None, &[]),
            r#"{"type":"x","name":"net","cniVersion":"1.1.0"}"#
        );
    }

    #[test]
    fn only_declared_and_supplied_capabilities_arrive() {
        let plugin = r#"{"type": "x", "capabilities": {"mac": true, "ips": false, "aliases": true},
                         "runtimeConfig": {"mac": "static"}}"#;
        let request = attach(
            plugin,
            None,
            &[("mac", r#""02::""#), ("ips", "[]"), ("x", "1")],
        );
        let request = json(&request);
        assert_eq!(
            request.get("runtimeConfig"),
            Some(&json(r#"{"mac": "02::"}"#))
        );
        let untouched = json(&attach(plugin, None, &[("ips", "[]")]));
        assert_eq!(
            untouched.get("runtimeConfig"),
            Some(&json(r#"{"mac": "static"}"#))
        );
    }

    #[test]
    fn the_previous_result_replaces_a_written_one() {
        let plugin = r#"{"type": "x", "prevResult": {"written": 1}}"#;
        let request = json(&attach(plugin, Some(r#"{"dns": {}}"#), &[]));
        assert_eq!(request.get("prevResult"), Some(&json(r#"{"dns": {}}"#)));
    }

    #[test]
    fn gc_lists_what_is_valid_under_both_keys() {
        let network = network(r#"{"type": "x"}"#);
        let valid = ValidAttachment {
            container_id: "c1".into(),
            ifname: "eth0".into(),
        };
        let request = for_gc(&network, &network.plugins()[0], &[valid]);
        let list = json(r#"[{"containerID": "c1", "ifname": "eth0"}]"#);
        assert_eq!(request.get("cni.dev/valid-attachments"), Some(&list));
        assert_eq!(request.get("cni.dev/attachments"), Some(&list));
        let none = for_gc(&network, &network.plugins()[0], &[]);
        assert_eq!(none.get("cni.dev/valid-attachments"), Some(&json("[]")));
    }
}
