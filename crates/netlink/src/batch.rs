//! Sending changes, alone or several at once, and collecting their acknowledgements.

use nix::libc;

use crate::change::{BatchError, Change};
use crate::error::{Cause, NetlinkError};
use crate::frame::{self, Frame, Outcome, push_request};
use crate::link::Link;
use crate::socket::{ACK, REQUEST, Socket, refusal};

/// How many requests one send carries. The acknowledgements must fit the receive buffer (212,992
/// bytes by default, of which each takes less than 1 KiB), or the kernel drops them.
const REQUESTS_PER_SEND: usize = 64;

/// How many bytes one send carries; the send buffer has 212,992 by default.
const BYTES_PER_SEND: usize = 64 * 1024;

/// What came back for one acknowledged request.
#[derive(Debug, Default)]
pub struct Reply {
    /// The link that the request made, on kernels that echo it (6.2 and later).
    pub echo: Option<Link>,
}

type Acked = Result<Reply, Cause>;

impl Socket {
    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel refuses it, or does not answer in time.
    pub fn request(&self, change: &Change) -> Result<Reply, NetlinkError> {
        self.send_each(std::slice::from_ref(change))
            .pop()
            .unwrap_or_else(|| Err(change.failed(Cause::Timeout)))
    }

    /// Sends all requests at once and returns what became of each, in order.
    ///
    /// The kernel executes every one of them, in order, **also after one failed**: do not put
    /// requests together where a later one does harm when an earlier one was refused.
    #[must_use = "each request may have failed"]
    pub fn send_each(&self, changes: &[Change]) -> Vec<Result<Reply, NetlinkError>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut rest = changes;
        let mut broken = None;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(chunk_len(rest));
            let acks = match broken {
                // A socket that gave no answer gets nothing more, or each send would wait anew.
                Some(_) => chunk.iter().map(|_| None).collect(),
                None => self.exchange(chunk, &mut broken),
            };
            for (change, ack) in chunk.iter().zip(acks) {
                results.push(match (ack, &broken) {
                    (Some(ack), _) => ack.map_err(|cause| change.failed(cause)),
                    (None, Some(cause)) => Err(change.failed(cause.again())),
                    (None, None) => Err(change.failed(Cause::Timeout)),
                });
            }
            rest = behind;
        }
        results
    }

    /// Sends all requests at once; an error tells the first that failed and which were done.
    ///
    /// As with [`send_each`](Self::send_each), requests behind a failed one are executed too.
    ///
    /// # Errors
    /// One of them was refused.
    pub fn send_all(&self, changes: &[Change]) -> Result<(), BatchError> {
        let results = self.send_each(changes);
        let done: Vec<bool> = results.iter().map(Result::is_ok).collect();
        match results
            .into_iter()
            .enumerate()
            .find_map(|(index, result)| Some((index, result.err()?)))
        {
            None => Ok(()),
            Some((index, error)) => Err(BatchError { index, done, error }),
        }
    }

    /// Sends one chunk and collects the acknowledgements, until all are there or the socket fails.
    fn exchange(&self, chunk: &[Change], broken: &mut Option<Cause>) -> Vec<Option<Acked>> {
        let first = self.take_seqs(chunk.len());
        let mut acks: Vec<Option<Acked>> = chunk.iter().map(|_| None).collect();
        let mut bytes =
            Vec::with_capacity(chunk.iter().map(|c| frame::HEADER + c.body.len()).sum());
        for (change, at) in chunk.iter().zip(0..) {
            let flags = REQUEST | ACK | change.flags;
            push_request(
                &mut bytes,
                change.kind,
                flags,
                first.wrapping_add(at),
                &change.body,
            );
        }
        *broken = self
            .send(&bytes)
            .and_then(|()| {
                let collected = self.collect_acks(first, &mut acks);
                collected.map_err(Cause::unheard)
            })
            .err();
        acks
    }

    fn collect_acks(&self, first: u32, acks: &mut [Option<Acked>]) -> Result<(), Cause> {
        let mut echoes: Vec<(u32, Link)> = Vec::new();
        let mut missing = acks.len();
        // The kernel has answered before the send was over. So what can be heard is there when a receive fails, and
        // what is not there will not come.
        let mut failure = None;
        while missing > 0 {
            let mut take = |frame: Frame<'_>| {
                let at = frame.seq.wrapping_sub(first);
                let Some(slot) = acks.get_mut(at as usize) else {
                    return Ok(()); // the late answer to a request that was given up
                };
                if frame.kind != frame::ERROR {
                    echoes.extend(Link::parse(frame).map(|link| (at, link)));
                    return Ok(());
                }
                let outcome = Outcome::parse(frame).map_err(Cause::Decode)?;
                missing -= usize::from(slot.is_none());
                let echo = echoes.pop_if(|(of, _)| *of == at).map(|(_, link)| link);
                *slot = Some(refusal(outcome).map(|()| Reply { echo }));
                Ok(())
            };
            let flags = failure.as_ref().map_or(0, |_| libc::MSG_DONTWAIT);
            match (self.receive_with(flags, &mut take), failure.take()) {
                (Err(cause), None) => failure = Some(cause),
                (Err(_nothing_more), Some(first)) => return Err(first),
                (Ok(()), before) => failure = before,
            }
        }
        Ok(())
    }
}

/// How many of the requests go into the next send: at least one.
fn chunk_len(changes: &[Change]) -> usize {
    let mut bytes = 0;
    changes
        .iter()
        .take(REQUESTS_PER_SEND)
        .take_while(|change| {
            bytes += frame::HEADER + change.body.len();
            bytes <= BYTES_PER_SEND
        })
        .count()
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{LinkId, set_alias, set_up};

    #[test]
    fn sends_are_bounded_in_requests_and_bytes() {
        let link = LinkId::new(1, "lo");
        let small = vec![set_up(&link); 200];
        assert_eq!(chunk_len(&small), REQUESTS_PER_SEND);
        assert_eq!(chunk_len(&small[..3]), 3);
        let large = vec![set_alias(&link, &"x".repeat(30_000)); 5];
        assert_eq!(chunk_len(&large), 2);
        let huge = vec![set_alias(&link, &"x".repeat(65_000)); 2];
        assert_eq!(chunk_len(&huge), 1, "never nothing");
    }
}
