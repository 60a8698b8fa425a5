//! What a driver's reply means.

use cni_types::Json;

use crate::error::{Cause, Method};
use crate::http::text::{excerpt, words};
use crate::wire::ErrorReply;

/// Makes of a reply what it says, or why it is none.
///
/// Go's libraries for either side, and drivers without one, differ in how they tell an error. All
/// of it is understood for both subsystems, which is more than Docker does: it takes no notice of
/// `Err` from an IPAM driver.
///
/// # Errors
/// - [`Cause::Refused`]: there is a text under `Err` or `Error`, whatever the status; or the status
///   is neither 200 nor 404, whatever the text.
/// - [`Cause::NotImplemented`]: 404 without such a text, and for calls that many drivers do not have
///   404 with it, too.
/// - [`Cause::Malformed`]: status 200 without a JSON object.
pub fn interpret(method: Method, status: u16, body: &[u8]) -> Result<Json, Cause> {
    let document = Json::parse_first(body);
    let refusal = match &document {
        Ok(document) => refusal(document, status)?,
        Err(_not_json) => None,
    };
    match (status, refusal, document) {
        (404, None, _) => Err(Cause::NotImplemented),
        (404, Some(_), _) if is_optional(method) => Err(Cause::NotImplemented),
        (_, Some(text), _) => Err(Cause::Refused(text)),
        (200, None, Ok(document)) => Ok(document),
        (200, None, Err(_)) if body.is_empty() => Err(Cause::Malformed("it is empty".to_owned())),
        (200, None, Err(error)) => Err(Cause::Malformed(format!(
            "{error}, in {}",
            excerpt(&String::from_utf8_lossy(body))
        ))),
        (status, None, _) => Err(Cause::Refused(words(status, body))),
    }
}

/// The error that a document tells. Of an answer that failed already nothing more is required.
fn refusal(document: &Json, status: u16) -> Result<Option<String>, Cause> {
    match document.decode::<ErrorReply>() {
        Ok(reply) => Ok(reply.text().map(str::to_owned)),
        Err(_other) if status != 200 => Ok(None),
        Err(error) => Err(Cause::Malformed(format!(
            "{error}, in {}",
            excerpt(&document.to_string())
        ))),
    }
}

/// Calls that many drivers do not have, and answer with 404 in whatever words.
const fn is_optional(method: Method) -> bool {
    matches!(
        method,
        Method::ProgramExternalConnectivity
            | Method::RevokeExternalConnectivity
            | Method::IpamGetCapabilities
            | Method::GwAllocCheck
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's servers answer.
    const HTML: &str = "<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n\
        <p>The browser sent a request\n that this server could not understand.</p>\n";

    /// Status, body, and what they come to.
    const ROWS: &[(u16, &str, &str)] = &[
        // success
        (200, "{}", "ok {}"),
        (200, r#"{"Err":""}"#, r#"ok {"Err":""}"#),
        (
            200,
            r#"{"Err":null,"Error":null}"#,
            r#"ok {"Err":null,"Error":null}"#,
        ),
        (200, "null", "ok null"),
        (200, " {}\n", "ok {}"),
        (200, r#"{"Value":{}}{"Err":"late"}"#, r#"ok {"Value":{}}"#),
        (200, "{} <html>", "ok {}"),
        // failure
        (
            200,
            r#"{"Err":"no such network"}"#,
            "refused: no such network",
        ),
        (200, r#"{"Error":"pool is full"}"#, "refused: pool is full"),
        (200, r#"{"ERR":"loud"}"#, "refused: loud"),
        (200, r#"{"error":"quiet"}"#, "refused: quiet"),
        (200, r#"{"Err":"twice"}{"Err":"again"}"#, "refused: twice"),
        (500, r#"{"Err":"boom"}"#, "refused: boom"),
        (500, r#"{"err":"first"}{"Err":"second"}"#, "refused: first"),
        (400, r#"{"Error":"bad"}"#, "refused: bad"),
        (500, "it broke\n", "refused: it broke"),
        (500, "", "refused: HTTP status 500"),
        (500, "null", "refused: null"),
        (500, r#"{"Err":""}"#, r#"refused: {"Err":""}"#),
        (
            500,
            r#"{"message":"other"}"#,
            r#"refused: {"message":"other"}"#,
        ),
        (500, r#"["Err"]"#, r#"refused: ["Err"]"#),
        (302, "", "refused: HTTP status 302"),
        (204, "", "refused: HTTP status 204"),
        (
            400,
            HTML,
            "refused: 400 Bad Request The browser sent a request that this server could not understand.",
        ),
        (400, "a < b, b > c", "refused: a < b, b > c"),
        // no such call
        (404, "404 page not found\n", "not implemented"),
        (404, "", "not implemented"),
        (404, "{}", "not implemented"),
        (
            404,
            r#"{"Err":"no such endpoint"}"#,
            "refused: no such endpoint",
        ),
        // not a reply
        (200, "", "malformed: it is empty"),
        (
            200,
            "<html>",
            "malformed: expected value at line 1 column 1, in <html>",
        ),
        (
            200,
            "{\"Err\":",
            "malformed: EOF while parsing a value at line 1 column 7, in {\"Err\":",
        ),
    ];

    /// What a reply comes to: `ok` and the document, or the cause.
    fn outcome(method: Method, status: u16, body: &str) -> String {
        match interpret(method, status, body.as_bytes()) {
            Ok(document) => format!("ok {document}"),
            Err(Cause::Refused(text)) => format!("refused: {text}"),
            Err(Cause::NotImplemented) => "not implemented".to_owned(),
            Err(Cause::Malformed(why)) => format!("malformed: {why}"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_way_of_drivers_to_answer_is_understood() {
        for (status, body, expected) in ROWS {
            for method in [Method::Join, Method::RequestPool] {
                assert_eq!(
                    outcome(method, *status, body),
                    *expected,
                    "{method} {status} {body}"
                );
            }
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_no_reply() {
        for body in [
            r#"{"Err": 5}"#,
            r#"{"Error": ["x"]}"#,
            "[]",
            "7",
            r#""text""#,
        ] {
            let outcome = outcome(Method::Join, 200, body);
            assert!(outcome.starts_with("malformed: "), "{body}: {outcome}");
        }
    }

    #[test]
    fn what_many_drivers_lack_is_lacking_in_whatever_words() {
        let optional = [
            Method::ProgramExternalConnectivity,
            Method::RevokeExternalConnectivity,
            Method::IpamGetCapabilities,
            Method::GwAllocCheck,
        ];
        for method in optional {
            for body in ["", "404 page not found", r#"{"Err":"unknown method"}"#] {
                assert_eq!(outcome(method, 404, body), "not implemented");
            }
            // An error is an error all the same.
            assert_eq!(outcome(method, 500, r#"{"Err":"no"}"#), "refused: no");
        }
    }
}
