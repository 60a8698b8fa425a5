//! What the command says: for people, and for programs. Pure.

use std::error::Error;
use std::io;

use cni_types::{CniError, ToCniError};
use serde_json::{Value, json};

/// How a verb went.
#[derive(Debug)]
pub(super) struct Report {
    /// For people.
    pub(super) text: String,
    /// With `--json`.
    pub(super) json: Value,
    /// What could not be done or read, besides.
    pub(super) failures: Vec<String>,
}

impl Report {
    pub(super) fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            failures: Vec::new(),
        }
    }

    /// The same, with what has failed.
    pub(super) fn with_failures(mut self, failures: Vec<String>) -> Self {
        self.failures = failures;
        self
    }

    pub(super) fn json_text(&self) -> String {
        pretty(&self.json)
    }
}

fn pretty(value: &Value) -> String {
    let mut text = cni_types::pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// An error of the controller, the store or the kernel, with its causes and what to do about it.
pub(super) fn told(error: impl ToCniError + 'static) -> anyhow::Error {
    let denied = is_denied(&error);
    let cni = CniError::from(error);
    anyhow::Error::from(if denied {
        cni.and("hint: it needs to be run as root")
    } else {
        cni
    })
}

fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
        || error.source().is_some_and(is_denied)
}

/// An error as plugins print it; without a code where it comes from the command line.
pub(super) fn error_document(error: &anyhow::Error) -> String {
    let document = match error.downcast_ref::<CniError>() {
        Some(cni) => json!(cni),
        None => json!({"msg": format!("{error:#}")}),
    };
    pretty(&document)
}

#[cfg(test)]
mod tests {
    use cni_types::ErrorCode;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to list /d")]
    struct Denied(#[source] io::Error);

    impl ToCniError for Denied {
        fn code(&self) -> ErrorCode {
            ErrorCode::IO
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_tells_what_to_do() {
        let error = told(Denied(io::ErrorKind::PermissionDenied.into()));
        let document: Value = serde_json::from_str(&error_document(&error)).unwrap();
        assert_eq!(document["code"], 5);
        assert_eq!(document["msg"], "failed to list /d");
        assert_eq!(
            format!("{error:#}"),
            "failed to list /d; permission denied; hint: it needs to be run as root"
        );
    }

    #[test]
    fn an_error_of_the_command_line_has_no_code() {
        let error = anyhow::anyhow!("nothing is called x");
        assert_eq!(
            error_document(&error),
            "{\n    \"msg\": \"nothing is called x\"\n}\n"
        );
    }
}
