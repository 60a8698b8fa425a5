use super::*;

fn parse(text: &str) -> Result<Network, String> {
    Network::parse(text.as_bytes()).map_err(|error| error.to_string())
}

/// A list with one plugin and these further keys.
fn list(keys: &str) -> Result<Network, String> {
    parse(&format!(
        r#"{{"name": "net", "plugins": [{{"type": "x"}}] {keys}}}"#
    ))
}

#[test]
fn a_whole_list() {
    let network = parse(
        r#"{"cniVersion": "1.0.0", "name": "net", "disableCheck": true, "disableGC": "TRUE",
            "plugins": [{"type": "bridge", "capabilities": {"mac": true, "ips": false}},
                        {"Type": "tuning", "x": 1}]}"#,
    )
    .unwrap();
    assert_eq!(network.name().as_str(), "net");
    assert_eq!(network.version(), SpecVersion::V1_0_0);
    assert!(network.disable_check() && network.disable_gc());
    let types: Vec<_> = network.plugins().iter().map(Plugin::plugin_type).collect();
    assert_eq!(types, ["bridge", "tuning"]);
    assert!(network.plugins()[0].takes("mac"));
    assert!(!network.plugins()[0].takes("ips") && !network.plugins()[0].takes("x"));
}

#[test]
fn the_highest_version_that_we_know_is_chosen() {
    for (keys, version) in [
        ("", "0.1.0"),
        (r#", "cniVersion": "" "#, "0.1.0"),
        (r#", "cniVersion": "0.4.0" "#, "0.4.0"),
        (r#", "cniVersion": "0.4.0", "cniVersions": []"#, "0.4.0"),
        (r#", "cniVersion": "0.4.0", "cniVersions": null"#, "0.4.0"),
        (
            r#", "cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0", "7.0.0"]"#,
            "1.0.0",
        ),
        (
            r#", "cniVersion": "1.1.0", "cniVersions": ["0.3.1"]"#,
            "1.1.0",
        ),
        (
            r#", "cniVersion": "9.0.0", "cniVersions": ["0.3.1"]"#,
            "0.3.1",
        ),
        (r#", "cniVersions": ["1.0.0", "0.3.0"]"#, "1.0.0"),
    ] {
        assert_eq!(list(keys).unwrap().version().as_str(), version, "{keys}");
    }
}

#[test]
fn booleans_may_be_strings() {
    for (value, expected) in [
        ("true", true),
        (r#""true""#, true),
        (r#""TrUe""#, true),
        ("false", false),
        (r#""FALSE""#, false),
        ("null", false),
    ] {
        let network = list(&format!(r#", "disableCheck": {value}"#)).unwrap();
        assert_eq!(network.disable_check(), expected, "{value}");
    }
}

#[test]
fn errors_name_the_path_and_the_value() {
    for (keys, error) in [
        (
            r#", "disableGC": 1"#,
            "disableGC: 1 is neither true nor false",
        ),
        (
            r#", "disableCheck": "yes""#,
            r#"disableCheck: "yes" is neither true nor false"#,
        ),
        (
            r#", "loadOnlyInlinedPlugins": {}"#,
            "loadOnlyInlinedPlugins: {} is neither true nor false",
        ),
        (r#", "cniVersion": 1"#, "cniVersion: is not a string"),
        (
            r#", "cniVersion": "2.0.0""#,
            "cniVersion: 2.0.0 is not supported; supported are \
             0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        ),
        (
            r#", "cniVersions": ["2.0.0", "3.0.0"]"#,
            "cniVersions: 2.0.0, 3.0.0 is not supported; supported are \
             0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        ),
        (
            r#", "cniVersions": "1.0.0""#,
            r#"cniVersions: "1.0.0" is not an array"#,
        ),
        (
            r#", "cniVersions": ["1.0.0", "new"]"#,
            r#"cniVersions[1]: "new" is not a version"#,
        ),
        (
            r#", "cniVersions": [1.0]"#,
            "cniVersions[0]: 1.0 is not a version",
        ),
        (r#", "name": 5"#, "name: 5 is not a string"),
        (
            r#", "name": "a/b""#,
            r#"name: "a/b" has invalid characters"#,
        ),
        (r#", "name": null"#, "name: is missing"),
    ] {
        assert_eq!(list(keys).unwrap_err(), error, "{keys}");
    }
}

#[test]
fn errors_in_plugins_name_the_plugin() {
    for (keys, error) in [
        (r#", "plugins": {}"#, "plugins: {} is not an array"),
        (r#", "plugins": []"#, "plugins: is empty"),
        (
            r#", "plugins": [{"type": "a"}, {"typo": 1}]"#,
            "plugins[1].type: is missing: it names the plugin's binary",
        ),
        (
            r#", "plugins": [{"type": 7}]"#,
            "plugins[0].type: 7 is not a string",
        ),
        (
            r#", "plugins": [{"type": "../a"}]"#,
            r#"plugins[0].type: "../a" is a path, not the name of a binary"#,
        ),
        (
            r#", "plugins": ["a"]"#,
            "plugins[0].type: is missing: not an object",
        ),
    ] {
        assert_eq!(list(keys).unwrap_err(), error, "{keys}");
    }
}

#[test]
fn a_capability_that_is_no_boolean_is_named() {
    let error = list(r#", "plugins": [{"type": "a", "capabilities": {"mac": "yes"}}]"#);
    let error = error.unwrap_err();
    assert!(
        error.starts_with("plugins[0].capabilities.mac: invalid type: string \"yes\""),
        "{error}"
    );
}

#[test]
fn documents_that_are_no_lists() {
    for (text, error) in [
        ("", "$: is not JSON: EOF while parsing a value"),
        ("[]", "$: is not an object"),
        ("{\"name\": \"a\",}", "$: is not JSON: trailing comma"),
        (
            r#"{"name": "a"}"#,
            "plugins: is missing, and no sibling directory",
        ),
        (
            r#"{"name": "a", "loadOnlyInlinedPlugins": true}"#,
            "plugins: is missing, and loadOnlyInlinedPlugins is true",
        ),
    ] {
        let found = parse(text).unwrap_err();
        assert!(found.starts_with(error), "{text}: {found}");
    }
}

#[test]
fn a_single_plugin_is_wrapped() {
    let text = br#"{"cniVersion": "0.3.1", "name": "old", "type": "bridge", "x": {"y": [1]}}"#;
    let network = Network::parse_single(text).unwrap();
    assert_eq!(network.name().as_str(), "old");
    assert_eq!(network.version(), SpecVersion::V0_3_1);
    assert_eq!(network.plugins()[0].plugin_type(), "bridge");
    // What goes into the cache can be parsed again.
    let again = Network::parse(network.source()).unwrap();
    assert_eq!(again.plugins(), network.plugins());
    assert_eq!(again.version(), network.version());
}

#[test]
fn a_list_in_a_file_for_single_plugins_is_explained() {
    let text = br#"{"name": "a", "plugins": [{"type": "x"}]}"#;
    let error = Network::parse_single(text).unwrap_err().to_string();
    assert_eq!(
        error,
        "type: is missing; this is a list: its file name must end in .conflist"
    );
}

#[test]
fn plugins_of_the_sibling_directory_are_cached_too() {
    let text = br#"{"name": "a", "plugins": [{"type": "x"}], "unknown": {"k": 1}}"#;
    let plugin = Plugin::parse(&Json::parse(br#"{"type": "y"}"#).unwrap()).unwrap();
    let network = ParsedList::parse(text)
        .unwrap()
        .with_plugins(vec![plugin])
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(network.source()),
        r#"{"name":"a","unknown":{"k":1},"plugins":[{"type":"x"},{"type":"y"}],"loadOnlyInlinedPlugins":true}"#
    );
    // Without siblings the cache has the file as it is, as libcni has.
    let alone = Network::parse(text).unwrap();
    assert_eq!(alone.source(), text);
}
