//! `inspect`: records as they are, for people and for programs.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::context::Context;
use super::inventory::{Thing, Wanted};
use super::listing::load;
use super::report::Report;

/// The records that a name leads to, each with its kind.
pub(super) fn run(context: &Context, name: &str) -> anyhow::Result<Report> {
    let inventory = load(context)?;
    let found = inventory.find(Wanted::Anything, name)?;
    let records: Result<Vec<Value>, _> = found.iter().map(record).collect();
    let records = json!(records.context("encode the records")?);
    let mut report = Report::new(String::new(), records);
    report.text = report.json_text();
    Ok(report.with_failures(inventory.unreadable))
}

fn record(thing: &Thing<'_>) -> serde_json::Result<Value> {
    let (kind, record) = match thing {
        Thing::Network(network) => ("network", serde_json::to_value(&network.record)?),
        Thing::Endpoint(_, it) => ("endpoint", serde_json::to_value(&it.record)?),
        Thing::Connection(it) => ("dockerConnection", serde_json::to_value(&it.record)?),
        Thing::Garbage(it) => ("garbage", serde_json::to_value(it)?),
    };
    Ok(with_kind(kind, record))
}

fn with_kind(kind: &str, mut record: Value) -> Value {
    if let Value::Object(keys) = &mut record {
        keys.insert("kind".into(), kind.into());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::super::inventory::tests::inventory;
    use super::*;

    #[test]
    fn a_record_has_its_kind() {
        let inventory = inventory();
        let found = inventory.find(Wanted::Anything, "red").unwrap();
        let document = record(&found[0]).unwrap();
        assert_eq!(document["kind"], "network");
        assert_eq!(document["driver"]["name"], "weave");
    }
}
