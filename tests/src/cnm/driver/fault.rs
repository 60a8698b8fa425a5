//! What a driver can do wrong.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::Reply;
use super::method::Method;

/// A wrong answer to one call, made by the functions below and set by [`super::Driver::fault`].
///
/// Those that refuse do not do the call's work; those that only answer badly do it first, so that
/// the driver then has what the controller does not know of. [`Fault::with_work`] and
/// [`Fault::without_work`] change that.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(super) works: bool,
    pub(super) act: Act,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Says this instead.
    Say(Reply),
    /// Says this after the right document.
    Append(Vec<u8>),
    /// Changes these keys of the right document.
    Merge(Value),
    /// Works, waits, answers.
    AnswerLate(Duration),
    /// Waits, works, answers.
    WorkLate(Duration),
    /// Never answers.
    Hang,
    /// Closes the connection without a word, or within the answer.
    Close(Cut),
    /// Closes everything without a word.
    Die,
    /// Answers rightly, then closes everything.
    AnswerAndDie,
    /// Loses its memory first.
    Forget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    BeforeTheReply,
    InTheBody,
}

impl Fault {
    fn refusing(reply: Reply) -> Self {
        Self {
            works: false,
            act: Act::Say(reply),
        }
    }

    fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::refusing(reply(status, "application/json", body))
    }

    fn acting(act: Act) -> Self {
        Self { works: true, act }
    }

    /// 200 with `{"Err": text}`: the network driver's failure.
    pub fn err(text: &str) -> Self {
        Self::json(200, json!({"Err": text}).to_string())
    }

    /// 500 with `{"Err": text}`, as drivers on go-plugins-helpers say it.
    pub fn err_500(text: &str) -> Self {
        Self::json(500, json!({"Err": text}).to_string())
    }

    /// 200 with `{"Error": text}`: the IPAM driver's failure.
    pub fn error(text: &str) -> Self {
        Self::json(200, json!({"Error": text}).to_string())
    }

    /// 200 with the failure in two documents one after the other, as Contiv says it.
    pub fn err_twice(text: &str) -> Self {
        let once = json!({"Err": text});
        Self::json(200, format!("{once}\n{once}\n"))
    }

    /// 500 with plain text.
    pub fn text_500(text: &str) -> Self {
        Self::refusing(reply(500, PLAIN, text))
    }

    /// 400 with an HTML page, as Flask says it.
    pub fn html_400() -> Self {
        Self::refusing(html_400())
    }

    /// 404: the driver does not have the call.
    pub fn not_found() -> Self {
        Self::refusing(not_found())
    }

    /// 302 to somewhere else.
    pub fn redirect(to: &str) -> Self {
        let location = Some(to.to_owned());
        Self::refusing(Reply {
            location,
            ..reply(302, "", "")
        })
    }

    /// The work is done, and the answer is 200 with exactly this text.
    pub fn saying(text: impl Into<Vec<u8>>) -> Self {
        Self::json(200, text).with_work()
    }

    /// The answer is `null`.
    pub fn null() -> Self {
        Self::saying("null")
    }

    /// The answer has no body.
    pub fn empty() -> Self {
        Self::saying("")
    }

    /// The answer is not JSON though it begins so.
    pub fn invalid_json() -> Self {
        Self::saying("{\"Interface\": {")
    }

    /// The answer is a JSON document of more than `bytes`.
    pub fn huge(bytes: usize) -> Self {
        Self::saying(json!({"Padding": "x".repeat(bytes)}).to_string())
    }

    /// The right answer is followed by a second document.
    pub fn two_documents() -> Self {
        Self::acting(Act::Append(b"{\"Err\":\"a second document\"}".to_vec()))
    }

    /// These keys of the right answer are other ones, e.g. `{"Gateway": "nonsense"}`.
    pub fn replying(changes: Value) -> Self {
        Self::acting(Act::Merge(changes))
    }

    /// `CreateEndpoint`'s answer has an address and a MAC address, whatever the request had. A
    /// controller may take only those that were empty.
    pub fn illegal_interface() -> Self {
        let interface = json!({"Address": "198.51.100.9/24", "MacAddress": "02:00:c6:33:64:09"});
        Self::replying(json!({"Interface": interface}))
    }

    /// The work is done at once, the answer comes late.
    pub fn slow(by: Duration) -> Self {
        Self::acting(Act::AnswerLate(by))
    }

    /// The work is begun late. A client that gives up before leaves it to be done all the same.
    pub fn slow_to_work(by: Duration) -> Self {
        Self::acting(Act::WorkLate(by))
    }

    /// Accepts the call, and never answers.
    pub fn hang() -> Self {
        Self::acting(Act::Hang).without_work()
    }

    /// Closes the connection without an answer; the next call is answered.
    pub fn closes() -> Self {
        Self::acting(Act::Close(Cut::BeforeTheReply)).without_work()
    }

    /// Closes the connection in the middle of the answer's body.
    pub fn closes_in_the_middle() -> Self {
        Self::acting(Act::Close(Cut::InTheBody))
    }

    /// Ends, without an answer: from now on connections are refused.
    pub fn dies() -> Self {
        Self::acting(Act::Die).without_work()
    }

    /// Answers this call, then ends: the next one is refused.
    pub fn answers_and_dies() -> Self {
        Self::acting(Act::AnswerAndDie)
    }

    /// Was restarted before this call, and does not know its networks, endpoints and pools any more.
    pub fn forgets() -> Self {
        Self::acting(Act::Forget)
    }

    /// The same after the call's work.
    #[must_use]
    pub fn with_work(mut self) -> Self {
        self.works = true;
        self
    }

    /// The same without the call's work.
    #[must_use]
    pub fn without_work(mut self) -> Self {
        self.works = false;
        self
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn reply(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        content_type: content_type.to_owned(),
        location: None,
        body: body.into(),
    }
}

/// Flask's page for a request that it does not understand.
pub(super) fn html_400() -> Reply {
    let page = "<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n\
        <h1>Bad Request</h1>\n<p>The browser (or proxy) sent a request that this server could \
        not understand.</p>\n";
    reply(400, "text/html; charset=utf-8", page)
}

/// What Go's server says of a path that it does not have.
pub(super) fn not_found() -> Reply {
    reply(404, PLAIN, "404 page not found\n")
}

/// A fault and when it is due.
#[derive(Debug)]
pub(super) struct Rule {
    method: Method,
    /// Counted from 1; 0 is every call.
    nth: usize,
    seen: usize,
    fault: Fault,
}

impl Rule {
    pub(super) fn new(method: Method, nth: usize, fault: Fault) -> Self {
        Self {
            method,
            nth,
            seen: 0,
            fault,
        }
    }
}

/// The fault that is due for this call. All rules count it.
pub(super) fn due(rules: &mut [Rule], method: Method) -> Option<Fault> {
    let mut due = None;
    for rule in rules.iter_mut().filter(|rule| rule.method == method) {
        rule.seen += 1;
        if due.is_none() && (rule.nth == 0 || rule.nth == rule.seen) {
            due = Some(rule.fault.clone());
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_their_own_calls() {
        let text = |fault: Option<Fault>| match fault?.act {
            Act::Say(reply) => Some(String::from_utf8(reply.body).unwrap()),
            _ => None,
        };
        let mut rules = [
            Rule::new(Method::Join, 2, Fault::text_500("second")),
            Rule::new(Method::Leave, 0, Fault::text_500("each")),
        ];
        assert_eq!(text(due(&mut rules, Method::Join)), None);
        assert_eq!(text(due(&mut rules, Method::Leave)).unwrap(), "each");
        assert_eq!(text(due(&mut rules, Method::Join)).unwrap(), "second");
        assert_eq!(text(due(&mut rules, Method::Join)), None);
        assert_eq!(text(due(&mut rules, Method::Leave)).unwrap(), "each");
    }
}
