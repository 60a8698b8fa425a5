//! JSON as Go's `encoding/json` reads it.
//!
//! Configs have been written against Go for ten years: keys match whatever their case, the last of
//! several equal keys wins, `null` leaves the default, unknown keys are ignored. Serde's derive
//! is stricter on each count, so a [`Json`] tree is a [`Deserializer`](serde::Deserializer) of its
//! own, and every struct that derives `Deserialize` gets Go's rules from it:
//!
//! ```
//! #[derive(serde::Deserialize, Default)]
//! #[serde(default, rename_all = "camelCase")]
//! struct Conf { ip_masq: bool, mtu: u32 }
//!
//! let doc = cni_types::Json::parse(br#"{"IPMASQ": false, "ipMasq": true, "mtu": null, "x": 1}"#)?;
//! let conf: Conf = doc.decode()?;
//! assert!(conf.ip_masq && conf.mtu == 0);
//! # Ok::<(), cni_types::JsonError>(())
//! ```

mod decode;

use std::fmt;

use serde::de::{self, Deserialize, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

pub use decode::JsonError;

/// A JSON value that keeps the order and the duplicates of its keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Json {
    /// `null`, and what is not there.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses one document. Bytes that are not UTF-8 are replaced inside strings, as Go does.
    ///
    /// # Errors
    /// The text is not exactly one JSON document; the message tells line and column.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(text) {
            Ok(text) => serde_json::from_str(text),
            Err(_invalid) => serde_json::from_str(&String::from_utf8_lossy(text)),
        }
        .map_err(|error| JsonError::new(error.to_string()))
    }

    /// Parses the first document of a text, whatever follows it, as a stream is read.
    ///
    /// # Errors
    /// There is none, or the first one is not JSON.
    pub fn parse_first(text: &[u8]) -> Result<Self, JsonError> {
        let text = String::from_utf8_lossy(text);
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(de::Error::custom("there is no JSON document")))
            .map_err(|error: serde_json::Error| JsonError::new(error.to_string()))
    }

    /// Decodes into a type by Go's rules.
    ///
    /// # Errors
    /// A value has the wrong type; the message begins with its path, as `ipam.ranges[0]`.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, JsonError> {
        T::deserialize(self)
    }

    /// The value of `key`, in whatever case it is written; of several the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .rev()
                .find(|(name, _)| fold_eq(name, key))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Puts `value` under `key`, in place of every spelling of that key.
    ///
    /// What is not an object becomes one.
    pub fn set(&mut self, key: &str, value: Self) {
        self.remove(key);
        if let Self::Object(members) = self {
            members.push((key.to_owned(), value));
        } else {
            *self = Self::Object(vec![(key.to_owned(), value)]);
        }
    }

    /// Removes every spelling of `key`.
    pub fn remove(&mut self, key: &str) {
        if let Self::Object(members) = self {
            members.retain(|(name, _)| !fold_eq(name, key));
        }
    }

    fn kind(&self) -> de::Unexpected<'_> {
        match self {
            Self::Null => de::Unexpected::Unit,
            Self::Bool(value) => de::Unexpected::Bool(*value),
            Self::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => de::Unexpected::Unsigned(value),
                (_, Some(value), _) => de::Unexpected::Signed(value),
                (.., value) => de::Unexpected::Float(value.unwrap_or_default()),
            },
            Self::String(text) => de::Unexpected::Str(text),
            Self::Array(_) => de::Unexpected::Seq,
            Self::Object(_) => de::Unexpected::Map,
        }
    }
}

/// Go folds Unicode case; the contract's keys are ASCII.
fn fold_eq(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_never| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => values.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests;
