use cni_types::{Attachment, IpCidr};

use super::*;
use crate::masquerade::{TABLE, layout};
use crate::owner;

fn attachment(container_id: &str) -> Attachment {
    Attachment {
        network: "net".parse().unwrap(),
        container_id: container_id.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn masquerade(texts: &[&str]) -> Layout {
    let addresses: Vec<IpCidr> = texts.iter().map(|text| text.parse().unwrap()).collect();
    layout(&addresses)
}

fn plan(layout: &Layout, observed: &Observed) -> Transaction {
    layout.plan(TABLE, observed, &owner::comment(&attachment("c1")))
}

fn text(transaction: &Transaction) -> Vec<String> {
    transaction
        .changes
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// What the kernel shows after these changes, which insert only in front of what they add.
fn rules_of(transaction: &Transaction) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for change in &transaction.changes {
        let handle = rules.len() as u64 + 1;
        let made = |chain: &str, rule: &[Expr]| Rule {
            chain: chain.to_owned(),
            handle,
            expressions: rule.to_vec(),
            comment: None,
        };
        match change {
            Change::AddRule { chain, rule, .. } => rules.push(made(chain, rule)),
            Change::InsertRule { chain, rule, .. } => rules.insert(0, made(chain, rule)),
            _ => {}
        }
    }
    rules
}

fn element(attachment: &Attachment, key: [u8; 4]) -> Element {
    Element {
        key: key.to_vec(),
        data: None,
        comment: Some(owner::comment(attachment)),
    }
}

fn base() -> Vec<Option<BaseChain>> {
    vec![Some(BaseChain {
        kind: "nat".to_owned(),
        number: 4,
        priority: 100,
    })]
}

#[test]
fn the_first_add_declares_everything_in_one_guarded_transaction() {
    let observed = Observed {
        generation: 7,
        rules: Vec::new(),
        elements: vec![None, None],
    };
    let plan = plan(&masquerade(&["10.1.0.5/16", "fd00:1::5/64"]), &observed);
    assert_eq!(plan.generation, Some(7));
    assert_eq!(
        text(&plan),
        [
            "add table inet tenon_masquerade",
            "add chain inet tenon_masquerade postrouting",
            "add set inet tenon_masquerade from_10.1.0.0/16",
            "add set inet tenon_masquerade from_fd00-1--/64",
            "insert rule inet tenon_masquerade postrouting",
            "insert rule inet tenon_masquerade postrouting",
            "add rule inet tenon_masquerade postrouting",
            "add rule inet tenon_masquerade postrouting",
            "create element inet tenon_masquerade from_10.1.0.0/16",
            "create element inet tenon_masquerade from_fd00-1--/64",
        ]
    );
}

#[test]
fn rules_and_elements_that_are_there_are_not_made_again() {
    let wanted = masquerade(&["10.1.0.5/16"]);
    let nothing = Observed {
        elements: vec![None],
        ..Observed::default()
    };
    let observed = Observed {
        rules: rules_of(&plan(&wanted, &nothing)),
        elements: vec![Some(element(&attachment("c1"), [10, 1, 0, 5]))],
        ..Observed::default()
    };
    assert_eq!(
        text(&plan(&wanted, &observed)),
        [
            "add table inet tenon_masquerade",
            "add chain inet tenon_masquerade postrouting",
            "add set inet tenon_masquerade from_10.1.0.0/16",
        ]
    );
    let owner = Tag::new(&attachment("c1"));
    assert_eq!(wanted.missing(TABLE, &observed, &base(), owner), []);
}

/// Somebody has deleted one of the rules that a chain begins with, or put one of their own in
/// between.
#[test]
fn a_chain_that_begins_wrongly_is_put_in_order_and_keeps_what_is_not_ours() {
    let wanted = masquerade(&["10.1.0.5/16"]);
    let all = rules_of(&plan(&wanted, &Observed::default()));
    let foreign = Rule {
        handle: 99,
        expressions: vec![Expr::Counter],
        ..all[0].clone()
    };
    let [first, second, of_set] = all.as_slice() else {
        panic!("{all:?}");
    };
    let damaged = [
        (vec![second, of_set], vec![second.handle]),
        (vec![first, of_set], vec![first.handle]),
        (
            vec![second, first, of_set],
            vec![second.handle, first.handle],
        ),
        (
            vec![first, &foreign, second, of_set],
            vec![first.handle, second.handle],
        ),
        (vec![of_set], vec![]),
    ];
    for (rules, deleted) in damaged {
        let observed = Observed {
            rules: rules.into_iter().cloned().collect(),
            ..Observed::default()
        };
        let changes = text(&plan(&wanted, &observed));
        let expected: Vec<String> = deleted
            .iter()
            .map(|handle| format!("delete rule inet tenon_masquerade postrouting handle {handle}"))
            .chain(["insert rule inet tenon_masquerade postrouting"; 2].map(str::to_owned))
            .collect();
        assert_eq!(changes[3..], expected, "{observed:?}");
        let lacks = wanted.missing(TABLE, &observed, &base(), Tag::new(&attachment("c1")));
        assert_eq!(lacks[0].what, Lack::Rules("postrouting"));
    }
}

#[test]
fn an_element_of_another_owner_or_with_other_data_is_replaced_in_the_same_transaction() {
    let wanted = masquerade(&["10.1.0.5/16"]);
    let own = attachment("c1");
    for other in [
        element(&attachment("c2"), [10, 1, 0, 5]),
        Element {
            comment: None,
            ..element(&own, [10, 1, 0, 5])
        },
        Element {
            data: Some(vec![7]),
            ..element(&own, [10, 1, 0, 5])
        },
    ] {
        let observed = Observed {
            elements: vec![Some(other)],
            ..Observed::default()
        };
        let text = text(&plan(&wanted, &observed));
        assert_eq!(
            &text[text.len() - 2..],
            [
                "delete element inet tenon_masquerade from_10.1.0.0/16",
                "create element inet tenon_masquerade from_10.1.0.0/16",
            ]
        );
    }
}

#[test]
fn each_lack_is_told_in_words() {
    let wanted = masquerade(&["10.1.0.5/16"]);
    let other = element(&attachment("c2"), [10, 1, 0, 5]);
    let elsewhere = Element {
        data: Some(vec![7]),
        ..element(&attachment("c1"), [10, 1, 0, 5])
    };
    let of_elements = |found: Option<Element>| {
        let observed = Observed {
            elements: vec![found],
            ..Observed::default()
        };
        let owner = Tag::new(&attachment("c1"));
        let lacks = wanted.missing(TABLE, &observed, &[None], owner);
        lacks.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let comment = owner::comment(&attachment("c2"));
    assert_eq!(
        of_elements(None),
        [
            "chain inet tenon_masquerade postrouting is missing or not at its hook",
            "chain inet tenon_masquerade postrouting does not begin with its rules",
            "table inet tenon_masquerade has not all rules for from_10.1.0.0/16",
            "no element for 10.1.0.5 in table inet tenon_masquerade",
        ]
    );
    assert_eq!(
        of_elements(Some(other)).pop().unwrap(),
        format!(
            "the element for 10.1.0.5 in table inet tenon_masquerade is of another owner: {comment}"
        )
    );
    assert_eq!(
        of_elements(Some(elsewhere)).pop().unwrap(),
        "the element for 10.1.0.5 in table inet tenon_masquerade leads elsewhere"
    );
}
