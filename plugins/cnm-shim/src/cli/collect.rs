//! `gc`: removes what nobody needs any more, and tries again what could not be removed.

use cni_cnm::controller::{Departure, Policy};
use cni_cnm::store::record::{EndpointRecord, NetworkRecord};
use serde_json::json;

use super::context::{Context, confirm};
use super::inventory::{Inventory, KnownNetwork, Life};
use super::listing::{endpoint_json, load};
use super::report::{Report, told};
use super::words::{self, attachment, dues, in_words, lease};

type Outcome = anyhow::Result<Report>;

/// What a collection would begin with.
struct Plan<'a> {
    /// Their namespaces are gone.
    endpoints: Vec<(&'a KnownNetwork, &'a EndpointRecord)>,
    garbage: Vec<(&'a KnownNetwork, &'a EndpointRecord)>,
    /// They are half made or half removed, and nothing else is on them.
    networks: Vec<&'a NetworkRecord>,
}

impl<'a> Plan<'a> {
    fn of(inventory: &'a Inventory) -> Self {
        let gone = inventory
            .endpoints()
            .filter(|(_, it)| it.sandbox == Life::Gone);
        let half_done = inventory.networks.iter().filter(|network| {
            let mut endpoints = network.endpoints.iter();
            !network.record.ready && endpoints.all(|it| it.sandbox == Life::Gone)
        });
        Self {
            endpoints: gone.map(|(network, it)| (network, &it.record)).collect(),
            garbage: inventory.garbage().collect(),
            networks: half_done.map(|network| &network.record).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.garbage.is_empty() && self.networks.is_empty()
    }

    /// One line for each.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |kind: &str, id: &str, about: String| {
            words::line(&mut text, format_args!("  {kind:<8}   {id}   {about}"));
        };
        for (network, endpoint) in &self.endpoints {
            let (who, on) = (attachment(endpoint), &network.record.name);
            let namespace = endpoint.sandbox.path.display();
            let about = format!("{who} on {on}: {namespace} is gone, or another one");
            line("endpoint", endpoint.id.short(), about);
        }
        for (network, garbage) in &self.garbage {
            let (who, on) = (attachment(garbage), &network.record.name);
            let about = format!("{who} on {on}: {}", dues(&garbage.owed));
            line("garbage", garbage.id.short(), about);
        }
        for network in &self.networks {
            let about = format!("{} is half done: {}", network.name, dues(&network.owed));
            line("network", network.id.short(), about);
        }
        text
    }

    fn report(&self) -> Report {
        let text = if self.is_empty() {
            "nothing would be removed\n".to_owned()
        } else {
            format!("would be removed:\n{}", self.text())
        };
        let endpoints: Vec<_> = self
            .endpoints
            .iter()
            .map(|(on, it)| endpoint_json(on, it, "namespace gone"))
            .collect();
        let garbage: Vec<_> = self.garbage.iter().map(|(_, it)| &it.id).collect();
        let networks: Vec<_> = self.networks.iter().map(|network| &network.id).collect();
        let json = json!({
            "gc": "dry-run", "endpoints": endpoints, "garbage": garbage, "networks": networks,
        });
        Report::new(text, json)
    }
}

/// Tells what would be removed, and changes nothing.
pub(super) fn dry_run(context: &Context) -> Outcome {
    let inventory = load(context)?;
    let report = Plan::of(&inventory).report();
    Ok(report.with_failures(inventory.unreadable))
}

/// Removes it. With nothing to remove there is nothing to ask, but drivers that are built in may have
/// something of which there is no record.
pub(super) fn run(context: &Context, yes: bool) -> Outcome {
    let inventory = load(context)?;
    let plan = Plan::of(&inventory);
    if !yes && !plan.is_empty() {
        confirm(&format!("To be removed:\n{}", plan.text()))?;
    }
    let mut done = Done::default();
    for (_, endpoint) in &plan.endpoints {
        done.remove(context, endpoint);
    }
    let collected = context
        .controller
        .collect(None, |_| true, Policy::default(), context.limits())
        .map_err(told)?;
    done.failures.extend(collected.failures);
    Ok(done.report(collected.garbage, collected.networks))
}

/// What was removed so far.
#[derive(Default)]
struct Done {
    endpoints: usize,
    notes: Vec<String>,
    failures: Vec<String>,
}

impl Done {
    fn remove(&mut self, context: &Context, endpoint: &EndpointRecord) {
        // A person may have thought about it for long.
        if Life::of(&endpoint.sandbox) != Life::Gone {
            return;
        }
        match context
            .controller
            .remove_endpoint(endpoint, context.limits())
        {
            Ok(None) => {}
            Ok(Some(Departure {
                down: Some(down), ..
            })) => self.failures.push(in_words(down)),
            Ok(Some(departure)) => {
                self.endpoints += 1;
                self.notes.extend(lease(endpoint));
                // Garbage is tried again right away, and then it says why it could not be removed.
                if !context.store().has_garbage(&endpoint.network, &endpoint.id) {
                    self.failures.extend(departure.notes);
                }
            }
            Err(error) => self.failures.push(in_words(error)),
        }
    }

    fn report(self, garbage: usize, networks: usize) -> Report {
        let counted = |number, what: &str| {
            (number > 0).then(|| format!("{number} {what}{}", if number == 1 { "" } else { "s" }))
        };
        let parts = [
            counted(self.endpoints, "endpoint"),
            counted(garbage, "earlier removal"),
            counted(networks, "network"),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let mut text = if parts.is_empty() {
            "nothing was removed\n".to_owned()
        } else {
            format!("removed or finished: {}\n", parts.join(", "))
        };
        for note in &self.notes {
            words::line(&mut text, format_args!("note: {note}"));
        }
        let json = json!({
            "gc": "done", "endpoints": self.endpoints, "garbage": garbage, "networks": networks,
            "notes": self.notes, "failures": self.failures,
        });
        Report::new(text, json).with_failures(self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::tests::{garbage_of, inventory, unready};
    use super::*;

    #[test]
    fn a_plan_has_what_nobody_needs() {
        let mut inventory = inventory();
        garbage_of(&mut inventory, "red");
        unready(&mut inventory, "blue");
        unready(&mut inventory, "red");
        let plan = Plan::of(&inventory);
        let text = plan.text();
        let lines: Vec<_> = text.lines().filter_map(|line| line.get(28..)).collect();
        assert_eq!(
            lines,
            [
                "eth0 of 0123456789ab on red: /run/netns/c2 is gone, or another one",
                "eth0 of c9 on red: Leave, ReleaseAddress 10.77.0.9",
            ],
            "networks with living endpoints stay"
        );
        let json = plan.report().json;
        assert_eq!(json["networks"], json!([]));
        assert_eq!(json["endpoints"][0]["netns"], "/run/netns/c2");
    }

    #[test]
    fn a_half_done_network_with_nothing_alive_on_it_goes() {
        let mut inventory = inventory();
        inventory
            .networks
            .retain(|network| network.record.name == "red");
        unready(&mut inventory, "red");
        inventory.networks[0].endpoints.remove(0);
        let text = Plan::of(&inventory).text();
        assert!(
            text.ends_with("red is half done: DeleteNetwork\n"),
            "{text}"
        );
        assert!(!Plan::of(&Inventory::default()).report().text.contains(':'));
    }

    #[test]
    fn what_was_done_is_counted() {
        let done = |endpoints| Done {
            endpoints,
            ..Done::default()
        };
        assert_eq!(done(0).report(0, 0).text, "nothing was removed\n");
        let expected = "removed or finished: 2 endpoints, 1 earlier removal, 1 network\n";
        assert_eq!(done(2).report(1, 1).text, expected);
    }
}
