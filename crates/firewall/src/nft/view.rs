//! What the kernel holds, read back.

use super::expr::Expr;
use super::{number, userdata};
use crate::error::Cause;
use crate::nfnetlink::Attributes;

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, as it is compared with packets.
    pub key: Vec<u8>,
    /// What a map has for the key.
    pub data: Option<Vec<u8>>,
    /// Its comment, where our owner tags are.
    pub comment: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain it is in.
    pub chain: String,
    /// What deletes it.
    pub handle: u64,
    /// What it does.
    pub expressions: Vec<Expr>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A chain that the kernel calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// `filter`, `nat`.
    pub kind: String,
    /// `NF_INET_*` or `NF_BR_*`.
    pub number: u32,
    /// Lower comes first.
    pub priority: i32,
}

/// A chain that the kernel calls, of any table of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookedChain {
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) hook: BaseChain,
    /// Whether it drops what no rule of it decides about.
    pub(crate) drops: bool,
}

impl Rule {
    /// Whether the rule looks up a set, or names it in its comment: then it is of no use without.
    pub(crate) fn serves(&self, set: &str) -> bool {
        let looks_up = |expr: &Expr| match expr {
            Expr::Lookup { set: found, .. } | Expr::Map { map: found } => found == set,
            _ => false,
        };
        self.comment.as_deref() == Some(set) || self.expressions.iter().any(looks_up)
    }
}

pub(super) fn generation(object: &[u8]) -> Result<u32, Cause> {
    Attributes(object)
        .u32(number::GENERATION_ID)
        .ok_or(Cause::Decode("a generation without its number"))
}

/// The elements in one piece of a set; an empty set has no list.
pub(super) fn elements(object: &[u8]) -> Result<Vec<Element>, Cause> {
    Attributes(object)
        .nested(number::ELEMENTS_LIST)
        .map_or_else(
            || Ok(Vec::new()),
            |list| list.entries().map(element).collect(),
        )
}

fn element(attributes: Attributes<'_>) -> Result<Element, Cause> {
    let key = attributes
        .data(number::ELEMENT_KEY)
        .ok_or(Cause::Decode("an element without a key"))?;
    Ok(Element {
        key: key.to_vec(),
        data: attributes.data(number::ELEMENT_DATA).map(<[u8]>::to_vec),
        comment: attributes
            .bytes(number::ELEMENT_USERDATA)
            .and_then(userdata::comment),
    })
}

pub(super) fn rule(object: &[u8]) -> Result<Rule, Cause> {
    let attributes = Attributes(object);
    let expressions = attributes.nested(number::RULE_EXPRESSIONS);
    Ok(Rule {
        chain: attributes.text(number::RULE_CHAIN).unwrap_or_default(),
        handle: attributes
            .u64(number::RULE_HANDLE)
            .ok_or(Cause::Decode("a rule without a handle"))?,
        expressions: expressions
            .map_or_else(Vec::new, |list| list.entries().map(Expr::read).collect()),
        comment: attributes
            .bytes(number::RULE_USERDATA)
            .and_then(userdata::comment),
    })
}

pub(super) fn set_name(object: &[u8]) -> Result<String, Cause> {
    Attributes(object)
        .text(number::SET_NAME)
        .ok_or(Cause::Decode("a set without a name"))
}

/// A set's table and its own name.
pub(super) fn set_place(object: &[u8]) -> Result<(String, String), Cause> {
    let table = Attributes(object).text(number::SET_TABLE);
    let table = table.ok_or(Cause::Decode("a set without a table"))?;
    Ok((table, set_name(object)?))
}

/// A chain with its hook; `None` for a chain that only other chains call.
pub(super) fn hooked_chain(object: &[u8]) -> Option<HookedChain> {
    /// `NF_DROP`
    const DROP: u32 = 0;
    let attributes = Attributes(object);
    Some(HookedChain {
        table: attributes.text(number::CHAIN_TABLE)?,
        chain: attributes.text(number::CHAIN_NAME)?,
        hook: base_chain(object)?,
        drops: attributes.u32(number::CHAIN_POLICY) == Some(DROP),
    })
}

/// A chain's hook; `None` for a chain that only other chains call.
pub(super) fn base_chain(object: &[u8]) -> Option<BaseChain> {
    let attributes = Attributes(object);
    let hook = attributes.nested(number::CHAIN_HOOK)?;
    Some(BaseChain {
        kind: attributes.text(number::CHAIN_TYPE)?,
        number: hook.u32(number::HOOK_NUMBER)?,
        priority: hook.i32(number::HOOK_PRIORITY)?,
    })
}
