//! `rm`: removes one thing, or forgets it.

use anyhow::{Context as _, bail};
use cni_cnm::store::record::EndpointRecord;
use serde_json::json;

use super::EndpointArgs;
use super::context::{Context, confirm};
use super::inventory::{Inventory, KnownNetwork, Life, Thing, Wanted};
use super::listing::load;
use super::report::{Report, told};
use super::words::{attachment, lease, left_of_endpoint, left_of_network, line};

type Outcome = anyhow::Result<Report>;

pub(super) fn network(context: &Context, name: &str, force: bool) -> Outcome {
    let inventory = load(context)?;
    let Some(Thing::Network(network)) = one(&inventory, Wanted::Network, name)? else {
        bail!("network {name} is not known");
    };
    let record = &network.record;
    let what = format!("network {}", record.name);
    if force {
        let forgotten = context
            .controller
            .forget_network(&record.id, context.limits());
        let Some(record) = forgotten.map_err(told)? else {
            bail!("{what} is gone already");
        };
        let garbage = network.garbage.iter().flat_map(left_of_endpoint);
        let left = left_of_network(&record).into_iter().chain(garbage);
        let left: Vec<_> = left.collect();
        return Ok(forgotten_report(&what, record.id.as_str(), &left));
    }
    let removed = context
        .controller
        .remove_network(&record.id, context.limits());
    let failures = removed.map_err(told)?;
    if failures.is_empty() {
        return Ok(removed_report(&what, record.id.as_str(), &[]));
    }
    let advice = format!("{what} is half removed: `cnm-shim gc` tries again, --force forgets it");
    let report = removed_report(&what, record.id.as_str(), &[]);
    Ok(failed(report, failures, advice))
}

pub(super) fn endpoint(context: &Context, args: &EndpointArgs) -> Outcome {
    let EndpointArgs { id, force, yes } = args;
    let inventory = load(context)?;
    let Some(Thing::Endpoint(network, endpoint)) = one(&inventory, Wanted::Endpoint, id)? else {
        bail!("endpoint {id} is not known");
    };
    if endpoint.sandbox == Life::There && !*yes {
        confirm(&in_use(network, &endpoint.record))?;
    }
    let record = &endpoint.record;
    let what = format!("endpoint {}", record.id.short());
    let changed = || format!("{what} has changed meanwhile: `cnm-shim endpoints` tells how");
    if *force {
        let forgotten = context.controller.forget_endpoint(record, context.limits());
        if !forgotten.map_err(told)? {
            bail!(changed());
        }
        let left: Vec<_> = left_of_endpoint(record)
            .into_iter()
            .chain(lease(record))
            .collect();
        Ok(forgotten_report(&what, record.id.as_str(), &left))
    } else {
        let departure = context.controller.remove_endpoint(record, context.limits());
        let Some(departure) = departure.map_err(told)? else {
            bail!(changed());
        };
        if let Some(down) = departure.down {
            let advice = "try again when it is back, or forget the endpoint with --force";
            return Err(told(down)).context(format!("{what} is still there ({advice})"));
        }
        let notes: Vec<_> = lease(record).into_iter().collect();
        let report = removed_report(&what, record.id.as_str(), &notes);
        let advice = "what could not be removed is garbage now: `cnm-shim gc` tries again";
        Ok(failed(report, departure.notes, advice.to_owned()))
    }
}

/// What a person should know before a container loses its network.
fn in_use(network: &KnownNetwork, record: &EndpointRecord) -> String {
    let (who, on) = (attachment(record), &network.record.name);
    let namespace = record.sandbox.path.display();
    format!("{who} is on {on}, and its namespace {namespace} is there: it loses the interface.\n")
}

pub(super) fn garbage(context: &Context, id: &str, force: bool) -> Outcome {
    let inventory = load(context)?;
    let Some(Thing::Garbage(record)) = one(&inventory, Wanted::Garbage, id)? else {
        bail!("garbage {id} is not known");
    };
    let what = format!("what was left of endpoint {}", record.id.short());
    if force {
        context.store().remove_garbage(record).map_err(told)?;
        let left = left_of_endpoint(record);
        return Ok(forgotten_report(&what, record.id.as_str(), &left));
    }
    let failures = context
        .controller
        .finish_garbage(record.clone(), context.limits());
    let report = removed_report(&what, record.id.as_str(), &[]);
    let advice = format!("{what} stays: `cnm-shim gc` tries again, --force forgets it");
    Ok(failed(report, failures, advice))
}

/// Only one thing is removed at a time.
fn one<'a>(
    inventory: &'a Inventory,
    wanted: Wanted,
    name: &str,
) -> anyhow::Result<Option<Thing<'a>>> {
    let mut found = inventory.find(wanted, name)?;
    if found.len() > 1 {
        bail!("{name:?} leads to several: write an id");
    }
    Ok(found.pop())
}

fn removed_report(what: &str, id: &str, notes: &[String]) -> Report {
    let mut text = format!("{what} is removed\n");
    for note in notes {
        line(&mut text, format_args!("note: {note}"));
    }
    Report::new(text, json!({"removed": id, "notes": notes}))
}

fn forgotten_report(what: &str, id: &str, left: &[String]) -> Report {
    let mut text = format!("{what} is forgotten\n");
    for one in left {
        line(&mut text, format_args!("left: {one}"));
    }
    Report::new(text, json!({"forgotten": id, "left": left}))
}

/// The report of a removal that did not get all, if anything has failed.
fn failed(report: Report, failures: Vec<String>, advice: String) -> Report {
    if failures.is_empty() {
        return report;
    }
    let id = report.json.get("removed").cloned().unwrap_or_default();
    let json = json!({"failed": id, "failures": failures});
    let failures = failures.into_iter().chain([advice]).collect();
    Report::new(String::new(), json).with_failures(failures)
}

#[cfg(test)]
mod tests {
    use super::super::inventory::tests::{inventory, unready};
    use super::*;

    #[test]
    fn what_is_left_is_told_with_who_has_it() {
        let mut inventory = inventory();
        let gone = &inventory.networks[1].endpoints[1].record;
        let left = left_of_endpoint(gone);
        let id = gone.id.to_string();
        let report = forgotten_report("endpoint x", &id, &left);
        let expected = format!(
            "endpoint x is forgotten\n\
             left: network driver weave has endpoint {id} still: Leave, DeleteEndpoint\n\
             left: IPAM driver default still has addresses: ReleaseAddress 10.77.0.3\n\
             left: /run/netns/c2 still has interface eth0\n"
        );
        assert_eq!(report.text, expected);
        unready(&mut inventory, "red");
        let red = &inventory.networks[1].record;
        let expected = format!("network driver weave still has network {}", red.id);
        assert_eq!(left_of_network(red), [expected]);
    }

    #[test]
    fn addresses_of_a_cni_plugin_are_told_of() {
        let inventory = inventory();
        let [blue, red] = [0, 1].map(|at| &inventory.networks[at].endpoints[0].record);
        assert!(lease(blue).unwrap().starts_with("10.9.0.2/24 came from"));
        assert_eq!(lease(red), None);
    }

    #[test]
    fn a_failure_says_what_can_be_done() {
        let report = removed_report("network red", "b984", &[]);
        let report = failed(report, vec!["busy".into()], "try again".into());
        assert_eq!(
            (report.text.as_str(), &report.json["failed"]),
            ("", &json!("b984"))
        );
        assert_eq!(report.failures, ["busy", "try again"]);
    }
}
