//! Changes of a JSON document that leave it one: libFuzzer's own, of bytes, seldom do.

use cni_types::Json;

/// Values at which things end.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "0",
    "1",
    "-1",
    "65536",
    "4294967295",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775808",
    "0.5",
    "1e300",
    "\"0.0.0.0/0\"",
    "\"::/0\"",
    "\"255.255.255.255\"",
    "\"10.0.0.1/31\"",
    "\"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\"",
    "\"::ffff:10.0.0.1\"",
    "\"\\u0000\"",
    "\"\\ud7ff\\ue000\"",
    "\"..\"",
    "\"a b\\n\"",
];

/// Numbers from a seed (xorshift).
struct Choice(u64);

impl Choice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or_default()
    }

    fn value(&mut self) -> Json {
        let text = VALUES[self.below(VALUES.len())];
        Json::parse(text.as_bytes()).expect("a value")
    }
}

/// The bytes with another document in place of the one that they end with; `None` if there is none.
pub(crate) fn document(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let start = bytes.iter().position(|byte| *byte == b'{')?;
    let (head, tail) = bytes.split_at(start);
    let mut doc = Json::parse(tail).ok()?;
    let mut choice = Choice(u64::from(seed) | 1 << 40);
    for _ in 0..=choice.below(3) {
        let mut all = Vec::new();
        collect(&doc, &mut all);
        let other = all[choice.below(all.len())].clone();
        let mut at = choice.below(all.len());
        change(node(&mut doc, &mut at)?, other, &mut choice);
    }
    Some([head, doc.to_string().as_bytes()].concat())
}

fn collect<'a>(doc: &'a Json, all: &mut Vec<&'a Json>) {
    all.push(doc);
    match doc {
        Json::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Json::Object(members) => members.iter().for_each(|(_, value)| collect(value, all)),
        _ => {}
    }
}

/// The value of that number, in the order of [`collect`].
fn node<'a>(doc: &'a mut Json, at: &mut usize) -> Option<&'a mut Json> {
    if *at == 0 {
        return Some(doc);
    }
    *at -= 1;
    match doc {
        Json::Array(items) => items.iter_mut().find_map(|item| node(item, at)),
        Json::Object(members) => members.iter_mut().find_map(|(_, value)| node(value, at)),
        _ => None,
    }
}

fn change(place: &mut Json, other: Json, choice: &mut Choice) {
    let which = choice.below(6);
    match (which, &mut *place) {
        (0, _) => *place = other,
        (1, Json::Object(members)) if !members.is_empty() => {
            let (key, _) = members[choice.below(members.len())].clone();
            members.push((key.to_ascii_uppercase(), choice.value()));
        }
        (2, Json::Object(members)) if !members.is_empty() => {
            drop(members.remove(choice.below(members.len())));
        }
        (1 | 2, Json::Array(items)) => items.push(other),
        (3, Json::Array(items)) if !items.is_empty() => {
            drop(items.remove(choice.below(items.len())));
        }
        (3, Json::String(text)) => text.push_str(&other.to_string()),
        (4, _) => *place = Json::Array(vec![place.clone(), other]),
        _ => *place = choice.value(),
    }
}
