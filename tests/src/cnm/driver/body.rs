//! The body of a request, read strictly: a driver may rely on every key that Docker always sends.

use serde_json::{Map, Value};

use super::state::Failure;

/// A JSON object.
#[derive(Debug, Clone)]
pub(super) struct Body(Map<String, Value>);

impl Body {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Failure::bad_request("the body is no object")),
            Err(error) => Err(Failure::bad_request(format!("the body: {error}"))),
        }
    }

    #[cfg(test)]
    pub(super) fn new(value: &Value) -> Self {
        Self::parse(value.to_string().as_bytes()).unwrap()
    }

    /// A text, which may be empty but must be there.
    pub(super) fn text(&self, key: &str) -> Result<&str, Failure> {
        self.must(key, Value::as_str, "text")
    }

    /// A text that must not be empty.
    pub(super) fn id(&self, key: &str) -> Result<&str, Failure> {
        match self.text(key)? {
            "" => Err(Failure::bad_request(format!("{key} is empty"))),
            id => Ok(id),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        self.must(key, Value::as_bool, "true or false")
    }

    /// An object that must be there.
    pub(super) fn object(&self, key: &str) -> Result<Self, Failure> {
        self.must(key, Value::as_object, "object")
            .map(|object| Self(object.clone()))
    }

    /// The objects of a list; `null` is none.
    pub(super) fn objects(&self, key: &str) -> Result<Vec<Self>, Failure> {
        let items = match self.0.get(key) {
            Some(Value::Null) => &Vec::new(),
            _ => self.must(key, Value::as_array, "list")?,
        };
        let objects = items.iter().map(Value::as_object);
        let objects: Option<Vec<_>> = objects.map(|item| item.cloned().map(Self)).collect();
        objects.ok_or_else(|| Failure::bad_request(format!("{key} has what is no object")))
    }

    /// Whatever is there.
    pub(super) fn get(&self, key: &str) -> &Value {
        self.0.get(key).unwrap_or(&Value::Null)
    }

    /// The text of a key that may be missing.
    pub(super) fn optional(&self, key: &str) -> &str {
        self.get(key).as_str().unwrap_or_default()
    }

    fn must<'a, T>(
        &'a self,
        key: &str,
        as_kind: impl FnOnce(&'a Value) -> Option<T>,
        kind: &str,
    ) -> Result<T, Failure> {
        let value = self.0.get(key);
        let value = value.ok_or_else(|| Failure::bad_request(format!("no {key}")))?;
        as_kind(value).ok_or_else(|| Failure::bad_request(format!("{key} {value} is no {kind}")))
    }
}
