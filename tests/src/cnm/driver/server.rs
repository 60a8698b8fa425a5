//! Threads that accept, read, work and answer.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::fault::{self, Act, Cut, Fault, Rule};
use super::http::{self, Framing, Received, Reply};
use super::method::Method;
use super::record::Request;
use super::state::{Failure, State};
use super::stream::{Listener, Stream};
use super::style::{Failures, Style};

/// What all threads of a driver share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) requests: Mutex<Vec<Request>>,
    lines: Mutex<Lines>,
    /// Tells of an end to threads that wait.
    ended: Condvar,
    /// How many calls are being left without an answer, and who wants to know.
    hanging: (Mutex<usize>, Condvar),
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether to say on standard error what is asked and answered.
    talkative: bool,
}

/// What is open to the outside.
#[derive(Debug, Default)]
struct Lines {
    /// The driver's lives; a thread of an earlier one ends.
    life: usize,
    listeners: Vec<Arc<Listener>>,
    connections: BTreeMap<usize, Stream>,
    /// How many connections there ever were.
    count: usize,
}

/// The connection that a thread serves.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    number: usize,
    life: usize,
}

/// Whether the connection is good for another request.
type KeepOpen = bool;

/// A mutex is poisoned only by a panic, which is reported anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(state: State, talkative: bool) -> Self {
        Self {
            state: state.into(),
            talkative,
            ..Self::default()
        }
    }

    /// Begins to accept connections.
    pub(super) fn listen(self: &Arc<Self>, listeners: Vec<Listener>) {
        let mut lines = lock(&self.lines);
        for listener in listeners.into_iter().map(Arc::new) {
            lines.listeners.push(Arc::clone(&listener));
            let (shared, life) = (Arc::clone(self), lines.life);
            self.spawn(move || shared.accept(&listener, life));
        }
    }

    pub(super) fn is_listening(&self) -> bool {
        !lock(&self.lines).listeners.is_empty()
    }

    /// Refuses connections from now on.
    fn stop_listening(&self) {
        for listener in lock(&self.lines).listeners.drain(..) {
            listener.close();
        }
    }

    /// Refuses connections from now on, and ends those that there are.
    pub(super) fn close(&self) {
        self.close_but(None);
    }

    /// The same, but for the connection of that number.
    fn close_but(&self, last: Option<usize>) {
        self.stop_listening();
        let mut lines = lock(&self.lines);
        lines.life += 1;
        lines.connections.retain(|number, stream| {
            let stays = Some(*number) == last;
            if !stays {
                stream.close();
            }
            stays
        });
        self.ended.notify_all();
    }

    /// Waits for all threads, after `close`.
    pub(super) fn join(&self) {
        // A thread that accepts may have begun another one meanwhile.
        while let Some(thread) = { lock(&self.threads).pop() } {
            let _ = thread.join();
        }
    }

    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(work);
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    fn accept(self: &Arc<Self>, listener: &Listener, life: usize) {
        while let Ok(stream) = listener.accept() {
            let mut lines = lock(&self.lines);
            if lines.life != life {
                return;
            }
            lines.count += 1;
            let connection = Connection {
                stream: stream.clone(),
                number: lines.count,
                life,
            };
            lines.connections.insert(connection.number, stream);
            let shared = Arc::clone(self);
            self.spawn(move || shared.serve(connection));
        }
    }

    fn serve(&self, mut connection: Connection) {
        let mut reader = BufReader::new(connection.stream.clone());
        while let Ok(Some(received)) = http::read(&mut reader) {
            if !self.answer(&mut connection, received) {
                break;
            }
        }
        connection.stream.close();
        lock(&self.lines).connections.remove(&connection.number);
    }

    /// Waits for a call that is left without an answer, its work done or not as it was told.
    pub(super) fn wait_for_a_hanging_call(&self, limit: Duration) -> bool {
        let (count, changed) = &self.hanging;
        let none = |count: &mut usize| *count == 0;
        let waited = changed.wait_timeout_while(lock(count), limit, none);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    fn count_hanging(&self, change: impl FnOnce(&mut usize)) {
        change(&mut lock(&self.hanging.0));
        self.hanging.1.notify_all();
    }

    /// Returns early, with false, at the end of this life.
    fn wait(&self, limit: Duration, life: usize) -> bool {
        let lines = lock(&self.lines);
        let waited = self
            .ended
            .wait_timeout_while(lines, limit, |lines| lines.life == life);
        waited.is_ok_and(|(_, timeout)| timeout.timed_out())
    }

    fn answer(&self, connection: &mut Connection, received: Received) -> KeepOpen {
        let request = Request::new(received, connection.number);
        let index = {
            let mut requests = lock(&self.requests);
            requests.push(request.clone());
            requests.len() - 1
        };
        let mut call = Call {
            shared: self,
            connection,
            style: lock(&self.state).style.clone(),
            request,
            index,
        };
        let due = call
            .request
            .method()
            .and_then(|method| fault::due(&mut lock(&self.rules), method));
        match due {
            None => {
                let reply = call.work();
                call.send(&reply)
            }
            Some(fault) => call.fail(&fault),
        }
    }
}

/// One request on its way to an answer.
struct Call<'a> {
    shared: &'a Shared,
    connection: &'a mut Connection,
    style: Style,
    request: Request,
    index: usize,
}

impl Call<'_> {
    /// What a faultless driver answers.
    fn work(&self) -> Reply {
        let (request, style) = (&self.request, &self.style);
        let form = |value: &str| value.starts_with("application/x-www-form-urlencoded");
        if request.header("content-type").is_some_and(form) {
            // Flask takes the body for a form, and sees none.
            return fault::html_400();
        }
        let Some(method) = request.method().filter(|_| request.verb == "POST") else {
            return fault::not_found();
        };
        if style.missing.contains(&method) {
            return fault::not_found();
        }
        let done = lock(&self.shared.state).work(method, &request.body);
        let (status, body) = match done {
            Ok(value) => (200, value.to_string()),
            Err(failure) => told(&failure, method, style.failures),
        };
        Reply {
            status,
            content_type: style.content_type.clone(),
            location: None,
            body: body.into_bytes(),
        }
    }

    fn fail(mut self, fault: &Fault) -> KeepOpen {
        match &fault.act {
            Act::WorkLate(by) if !self.shared.wait(*by, self.connection.life) => return false,
            Act::Forget => lock(&self.shared.state).forget(),
            _ => {}
        }
        let right = if fault.works { Some(self.work()) } else { None };
        match (&fault.act, right) {
            (Act::Say(reply), _) => self.send(reply),
            (Act::Hang, _) => self.hang(),
            (Act::Die, _) => self.die(),
            (Act::Close(Cut::BeforeTheReply), _) | (_, None) => false,
            (Act::Close(Cut::InTheBody), Some(reply)) => self.cut(&reply),
            (Act::AnswerLate(by), Some(reply)) => {
                self.shared.wait(*by, self.connection.life) && self.send(&reply)
            }
            (Act::AnswerAndDie, Some(reply)) => {
                // A quick client must not find it alive, nor a new life end with the old one.
                self.shared.close_but(Some(self.connection.number));
                self.send(&reply);
                false
            }
            (Act::Append(more), Some(mut reply)) => {
                reply.body.extend(more);
                self.send(&reply)
            }
            (Act::Merge(changes), Some(mut reply)) => {
                reply.body = merged(&reply.body, changes);
                self.send(&reply)
            }
            (Act::WorkLate(_) | Act::Forget, Some(reply)) => self.send(&reply),
        }
    }

    fn send(&mut self, reply: &Reply) -> KeepOpen {
        self.keep(reply);
        let bytes = http::encode(reply, self.style.framing);
        let written = http::write(&mut self.connection.stream, &bytes).is_ok();
        let close = |value: &str| value.eq_ignore_ascii_case("close");
        let close = self.request.header("connection").is_some_and(close);
        let open = matches!(self.style.framing, Framing::KeepAlive | Framing::Chunked);
        written && open && !close && self.request.version != "HTTP/1.0"
    }

    /// Half of the reply; it announces more than comes.
    fn cut(&mut self, reply: &Reply) -> KeepOpen {
        let bytes = http::encode(reply, Framing::KeepAlive);
        let half = bytes.len() - reply.body.len() / 2 - 1;
        let _ = http::write(&mut self.connection.stream, &bytes[..half]);
        false
    }

    fn die(&self) -> KeepOpen {
        self.shared.close();
        false
    }

    /// Until the client gives up or the driver ends.
    fn hang(&mut self) -> KeepOpen {
        self.shared.count_hanging(|count| *count += 1);
        while self
            .connection
            .stream
            .read(&mut [0; 512])
            .is_ok_and(|n| n > 0)
        {}
        self.shared.count_hanging(|count| *count -= 1);
        false
    }

    /// Into the record, before the client can know of it.
    fn keep(&self, reply: &Reply) {
        if let Some(request) = lock(&self.shared.requests).get_mut(self.index) {
            request.status = Some(reply.status);
            request.reply.clone_from(&reply.body);
            request.took = request.at.elapsed();
        }
        if self.shared.talkative {
            let body = String::from_utf8_lossy(&reply.body);
            eprintln!("{} -> {} {body}", self.request.line(), reply.status);
        }
    }
}

fn told(failure: &Failure, method: Method, style: Failures) -> (u16, String) {
    let text = &failure.text;
    match style {
        Failures::Status500 => {
            let both = if method.is_ipam() {
                json!({"Err": text, "Error": text})
            } else {
                json!({"Err": text})
            };
            let status = if failure.bad_request { 400 } else { 500 };
            (status, both.to_string())
        }
        Failures::Status200 => {
            let key = if method.is_ipam() { "Error" } else { "Err" };
            (200, json!({key: text}).to_string())
        }
        Failures::Text => (400, text.clone()),
        Failures::Twice => {
            let once = json!({"Err": text});
            (200, format!("{once}\n{once}\n"))
        }
    }
}

fn merged(body: &[u8], changes: &Value) -> Vec<u8> {
    let mut reply: Value = serde_json::from_slice(body).unwrap_or_default();
    for (key, value) in changes.as_object().into_iter().flatten() {
        reply[key] = value.clone();
    }
    reply.to_string().into_bytes()
}

/// Binds a unix socket where an earlier driver may have left its own.
pub(super) fn bind(path: &Path) -> std::io::Result<Listener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Listener::Unix(std::os::unix::net::UnixListener::bind(
        path,
    )?))
}
