use super::*;
use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Inner {
    subnet: Option<String>,
    metric: u8,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    name: String,
    ip_masq: bool,
    mtu: i32,
    ranges: Vec<Vec<Inner>>,
    labels: BTreeMap<String, String>,
    raw: Json,
    ipam: Inner,
}

fn conf(text: &str) -> Result<Conf, JsonError> {
    Json::parse(text.as_bytes())?.decode()
}

#[test]
fn keys_match_in_any_case_and_the_last_wins() {
    assert_eq!(conf(r#"{"NAME": "a"}"#).unwrap().name, "a");
    for text in [
        r#"{"name": "a", "NAME": "b"}"#,
        r#"{"NAME": "a", "name": "b"}"#,
        r#"{"name": "a", "name": "b"}"#,
    ] {
        assert_eq!(conf(text).unwrap().name, "b", "{text}");
    }
    // What the last one overrides is not even looked at.
    assert_eq!(conf(r#"{"mtu": "x", "mtu": 3}"#).unwrap().mtu, 3);
}

#[test]
fn null_leaves_the_default_and_what_came_before() {
    assert_eq!(
        conf(r#"{"name": null, "mtu": null, "ipam": null, "ranges": null, "labels": null}"#)
            .unwrap(),
        Conf::default()
    );
    assert_eq!(conf(r#"{"name": "a", "name": null}"#).unwrap().name, "a");
    assert_eq!(conf("null").unwrap(), Conf::default());
    assert_eq!(
        conf(r#"{"ranges": [null, [null, {"metric": 1}]]}"#)
            .unwrap()
            .ranges,
        [
            vec![],
            vec![
                Inner::default(),
                Inner {
                    subnet: None,
                    metric: 1
                }
            ]
        ]
    );
}

#[test]
fn unknown_keys_pass_and_map_keys_keep_their_case() {
    let conf = conf(r#"{"zzz": {"deep": [1]}, "labels": {"Name": "x", "name": "y"}}"#).unwrap();
    assert_eq!(conf.labels.len(), 2);
}

#[test]
fn wrong_types_are_errors_that_name_the_path() {
    for (text, path) in [
        (r#"{"name": 1}"#, "name"),
        (r#"{"mtu": 1.5}"#, "mtu"),
        (r#"{"MTU": "1"}"#, "MTU"),
        (r#"{"ipMasq": "true"}"#, "ipMasq"),
        (
            r#"{"ranges": [[], [{}, {"metric": 256}]]}"#,
            "ranges[1][1].metric",
        ),
        (r#"{"ipam": {"subnet": []}}"#, "ipam.subnet"),
        (r#"{"ipam": []}"#, "ipam"),
        ("[]", ""),
    ] {
        let error = conf(text).unwrap_err();
        assert_eq!(error.path(), path, "{text}: {error}");
    }
}

#[test]
fn one_document_and_no_more() {
    for text in ["", "{", "{} {}", "{}x", "nul"] {
        assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(Json::parse(b"\x00\xff\xfe").is_err());
    let replaced = Json::parse(b"{\"name\": \"a\xff\"}").unwrap();
    assert_eq!(
        replaced.get("Name").and_then(Json::as_str),
        Some("a\u{fffd}")
    );
}

#[test]
fn a_tree_prints_what_it_read() {
    let text = r#"{"b":[1,-2,0.5,true,null],"a":{"x":"y"},"a":1}"#;
    assert_eq!(Json::parse(text.as_bytes()).unwrap().to_string(), text);
}

#[test]
fn set_and_remove_take_every_spelling() {
    let mut doc = Json::parse(br#"{"PrevResult": 1, "prevresult": 2, "x": 3}"#).unwrap();
    doc.set("prevResult", Json::Bool(true));
    assert_eq!(doc.to_string(), r#"{"x":3,"prevResult":true}"#);
    doc.remove("X");
    assert_eq!(doc.to_string(), r#"{"prevResult":true}"#);
}

#[test]
fn the_first_document_of_a_stream() {
    let first = |text: &str| Json::parse_first(text.as_bytes());
    assert_eq!(
        first(r#"{"a": 1}{"a": 2}"#).unwrap().to_string(),
        r#"{"a":1}"#
    );
    assert_eq!(first("null <html>"), Ok(Json::Null));
    for text in ["", "  ", "<html>", r#"{"a": "#] {
        assert!(first(text).is_err(), "{text:?}");
    }
}
