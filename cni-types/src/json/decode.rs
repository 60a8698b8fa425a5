//! A [`Json`] tree as a serde `Deserializer` with Go's rules.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Json, fold_eq};

/// Why a document could not be parsed or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    path: String,
    message: String,
}

impl JsonError {
    /// An error without a path.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }

    /// The path of the offending value, as `ipam.ranges[0].subnet`; empty at the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn below(mut self, key: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{key}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

impl de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// For a `null` where no option is expected, Go leaves the zero value.
macro_rules! or_zero {
    ($($method:ident => $visit:ident($zero:expr)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            match self {
                Json::Null => visitor.$visit($zero),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Json {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Number(number) => visit_number(number, visitor),
            Json::String(text) => visitor.visit_borrowed_str(text),
            Json::Array(values) => visitor.visit_seq(Elements {
                rest: values.iter(),
                index: 0,
            }),
            Json::Object(members) => visitor.visit_map(Members::of_map(members)),
        }
    }

    or_zero! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_i64(0),
        deserialize_i16 => visit_i64(0),
        deserialize_i32 => visit_i64(0),
        deserialize_i64 => visit_i64(0),
        deserialize_u8 => visit_u64(0),
        deserialize_u16 => visit_u64(0),
        deserialize_u32 => visit_u64(0),
        deserialize_u64 => visit_u64(0),
        deserialize_f32 => visit_f64(0.0),
        deserialize_f64 => visit_f64(0.0),
        deserialize_str => visit_borrowed_str(""),
        deserialize_string => visit_borrowed_str(""),
        deserialize_seq => visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
        deserialize_map => visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self {
            Json::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    /// The one place where the names of the fields are known, and with them which keys of the
    /// document are meant.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self {
            Json::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
            Json::Object(members) => visitor.visit_map(Members::of_struct(members, fields)),
            other => Err(de::Error::invalid_type(other.kind(), &"an object")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self {
            Json::Null => visitor.visit_enum(UnitVariant("")),
            Json::String(text) => visitor.visit_enum(UnitVariant(text)),
            other => Err(de::Error::invalid_type(other.kind(), &"a string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn visit_number<'de, V: Visitor<'de>>(
    number: &serde_json::Number,
    visitor: V,
) -> Result<V::Value, JsonError> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(value), ..) => visitor.visit_u64(value),
        (_, Some(value), _) => visitor.visit_i64(value),
        (.., Some(value)) => visitor.visit_f64(value),
        (None, None, None) => Err(de::Error::custom("number out of range")),
    }
}

struct Elements<'de> {
    rest: std::slice::Iter<'de, Json>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        let Some(value) = self.rest.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(value)
            .map(Some)
            .map_err(|error| error.below(&format!("[{index}]")))
    }
}

/// The members of an object that a visitor is to see, each key once, under the name it expects.
struct Members<'de> {
    all: &'de [(String, Json)],
    /// `None` for maps, whose keys are data and keep their case.
    fields: Option<&'static [&'static str]>,
    next: usize,
    value: Option<(&'de str, &'de Json)>,
}

impl<'de> Members<'de> {
    fn of_map(members: &'de [(String, Json)]) -> Self {
        Self {
            all: members,
            fields: None,
            next: 0,
            value: None,
        }
    }

    fn of_struct(members: &'de [(String, Json)], fields: &'static [&'static str]) -> Self {
        Self {
            all: members,
            fields: Some(fields),
            next: 0,
            value: None,
        }
    }

    /// The name under which the visitor knows `key`, if it knows it.
    fn expected_name(&self, key: &'de str) -> Option<&'de str> {
        let Some(fields) = self.fields else {
            return Some(key);
        };
        let exact = fields.iter().find(|field| **field == key);
        exact
            .or_else(|| fields.iter().find(|field| fold_eq(field, key)))
            .copied()
    }

    fn is_overridden(&self, name: &str, at: usize) -> bool {
        self.all
            .iter()
            .skip(at + 1)
            .any(|(key, value)| !value.is_null() && self.expected_name(key) == Some(name))
    }

    /// A `null` that a struct would see is as good as absent; a map keeps it.
    fn is_visible(&self, value: &Json) -> bool {
        self.fields.is_none() || !value.is_null()
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, JsonError> {
        while let Some((key, value)) = self.all.get(self.next) {
            let at = self.next;
            self.next += 1;
            let Some(name) = self.expected_name(key) else {
                continue;
            };
            if self.is_visible(value) && !self.is_overridden(name, at) {
                self.value = Some((key, value));
                let name: StrDeserializer<'_, JsonError> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        let (key, value) = self.value.take().unwrap_or(("", &Json::Null));
        seed.deserialize(value).map_err(|error| error.below(key))
    }
}

struct UnitVariant<'de>(&'de str);

impl<'de> EnumAccess<'de> for UnitVariant<'de> {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), JsonError> {
        let name: StrDeserializer<'_, JsonError> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant<'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, JsonError> {
        Err(de::Error::invalid_type(
            de::Unexpected::Str(self.0),
            &"an object",
        ))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, JsonError> {
        Err(de::Error::invalid_type(
            de::Unexpected::Str(self.0),
            &"an array",
        ))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, JsonError> {
        Err(de::Error::invalid_type(
            de::Unexpected::Str(self.0),
            &"an object",
        ))
    }
}
