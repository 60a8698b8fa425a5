//! Questions to the kernel.

use nix::errno::Errno;

use super::attr::{Writer, number};
use super::change::Table;
use super::encode::{Message, write_element};
use super::frame::{DUMP, Frames, Outbox, Reply};
use super::socket::{Nft, position};
use super::view::{self, BaseChain, Element, Rule};
use crate::error::Cause;

/// What [`Nft::look_up`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The generation of the ruleset before anything else was read.
    pub(crate) generation: u32,
    /// One answer for each question, in order.
    pub(crate) elements: Vec<Option<Element>>,
}

/// What [`Nft::glance`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Glance {
    /// The set has these elements and no others.
    All(Vec<Element>),
    /// It has more than fit into one answer.
    Many,
    /// The socket for it is still busy with an earlier large set.
    Spent,
}

impl Nft {
    /// Reads the generation and then some elements; the first few of them in the same exchange.
    pub(crate) fn look_up(&mut self, keys: &[(Table, &str, &[u8])]) -> Result<Found, Cause> {
        // As many answers as any receive buffer holds.
        const AT_ONCE: usize = 64;
        let (first, others) = keys.split_at_checked(AT_ONCE).unwrap_or((keys, &[]));
        let mut found = self.look_up_first(first)?;
        for keys in others.chunks(AT_ONCE) {
            // The first generation stands for all: what changed since would be newer than it.
            found.elements.extend(self.look_up_first(keys)?.elements);
        }
        Ok(found)
    }

    fn look_up_first(&mut self, keys: &[(Table, &str, &[u8])]) -> Result<Found, Cause> {
        let mut outbox = self.outbox();
        outbox.message(Message::GetGeneration.kind(), 0, (0, 0), |_nothing| {});
        for (table, set, key) in keys {
            let family = (table.family.number(), 0);
            outbox.message(Message::GetElement.kind(), 0, family, |body| {
                write_element(table.name, set, key, None, body);
            });
        }
        let mut found = Found {
            generation: 0,
            elements: vec![None; keys.len()],
        };
        self.exchange(&outbox, "find an element", |at, object| {
            match at.checked_sub(1) {
                None => found.generation = view::generation(object)?,
                Some(key) => {
                    if let Some(slot) = found.elements.get_mut(key) {
                        *slot = view::elements(object)?.pop();
                    }
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Sends single questions and reads one answer for each. What does not exist is skipped.
    fn exchange(
        &mut self,
        outbox: &Outbox,
        request: &str,
        mut each: impl FnMut(usize, &[u8]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let limit = self.limit();
        let first = self.next;
        let count = usize::try_from(outbox.next.wrapping_sub(first)).unwrap_or_default();
        self.next = outbox.next;
        self.main.send(&outbox.bytes)?;
        let mut answered = 0;
        while answered < count {
            self.main.receive(limit)?;
            for frame in Frames(&self.main.inbox) {
                let frame = frame?;
                let Some(at) = position(frame.seq, first, count) else {
                    continue;
                };
                answered += 1;
                match frame.reply()? {
                    Reply::Object(object) => each(at, object)?,
                    Reply::Done => {}
                    Reply::Refused(refusal) if refusal.errno == Errno::ENOENT => {}
                    Reply::Refused(refusal) => return Err(refusal.of(request.to_owned())),
                }
            }
        }
        Ok(())
    }

    /// The generation of the ruleset, for [`Transaction::generation`].
    pub(crate) fn generation(&mut self) -> Result<u32, Cause> {
        self.look_up(&[]).map(|found| found.generation)
    }

    /// All rules of a chain, in order; none if there is no such chain.
    pub(crate) fn rules(&mut self, table: Table, chain: &str) -> Result<Vec<Rule>, Cause> {
        self.dump(Message::GetRule, table, view::rule, |body| {
            body.text(number::RULE_TABLE, table.name)
                .text(number::RULE_CHAIN, chain);
        })
    }

    /// The names of all sets of a table; none if there is no such table.
    pub(crate) fn sets(&mut self, table: Table) -> Result<Vec<String>, Cause> {
        self.dump(Message::GetSet, table, view::set_name, |body| {
            body.text(number::SET_TABLE, table.name);
        })
    }

    /// All elements of a set; none if there is no such set.
    pub(crate) fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>, Cause> {
        let pieces = self.dump(Message::GetElement, table, view::elements, |body| {
            write_set_name(table, set, body);
        })?;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// A chain's hook; `None` if there is no such chain, or nothing calls it.
    pub(crate) fn base_chain(
        &mut self,
        table: Table,
        chain: &str,
    ) -> Result<Option<BaseChain>, Cause> {
        let mut found = None;
        self.find_chains(&[(table, chain)], |_only, object| {
            found = view::base_chain(object);
        })?;
        Ok(found)
    }

    /// Which of these chains there are, asked in one exchange.
    pub(crate) fn have_chains(&mut self, chains: &[(Table, &str)]) -> Result<Vec<bool>, Cause> {
        let mut have = vec![false; chains.len()];
        self.find_chains(chains, |at, _object| {
            if let Some(slot) = have.get_mut(at) {
                *slot = true;
            }
        })?;
        Ok(have)
    }

    fn find_chains(
        &mut self,
        chains: &[(Table, &str)],
        mut found: impl FnMut(usize, &[u8]),
    ) -> Result<(), Cause> {
        let mut outbox = self.outbox();
        for (table, chain) in chains {
            let family = (table.family.number(), 0);
            outbox.message(Message::GetChain.kind(), 0, family, |body| {
                body.text(number::CHAIN_TABLE, table.name)
                    .text(number::CHAIN_NAME, chain);
            });
        }
        self.exchange(&outbox, "find a chain", |at, object| {
            found(at, object);
            Ok(())
        })
    }

    /// Reads a whole list, again and again while it changes underneath (`NLM_F_DUMP_INTR`).
    fn dump<T>(
        &mut self,
        message: Message,
        table: Table,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
        filter: impl Fn(&mut Writer<'_>),
    ) -> Result<Vec<T>, Cause> {
        let limit = self.limit();
        loop {
            let mut outbox = self.outbox();
            let family = (table.family.number(), 0);
            outbox.message(message.kind(), DUMP, family, &filter);
            let seq = self.next;
            self.next = outbox.next;
            self.main.send(&outbox.bytes)?;
            let mut objects = Vec::new();
            let whole = self.main.read_dump(seq, limit, |object| {
                objects.push(read(object)?);
                Ok(())
            })?;
            if whole {
                return Ok(objects);
            }
            limit.retry()?;
        }
    }

    /// Begins to read a set. Costs the same however large the set is.
    pub(crate) fn glance(&mut self, table: Table, set: &str) -> Result<Glance, Cause> {
        // Two datagrams: the kernel ends even the shortest list in a datagram of its own.
        const DATAGRAMS: usize = 2;
        let limit = self.limit();
        let Some(mut channel) = self.glance.take() else {
            return Ok(Glance::Spent);
        };
        let mut outbox = self.outbox();
        let family = (table.family.number(), 0);
        outbox.message(Message::GetElement.kind(), DUMP, family, |body| {
            write_set_name(table, set, body);
        });
        let seq = self.next;
        self.next = outbox.next;
        channel.send(&outbox.bytes)?;
        let mut elements = Vec::new();
        let mut whole = true;
        for _datagram in 0..DATAGRAMS {
            let end = channel.read_piece(seq, limit, &mut whole, &mut |object| {
                elements.extend(view::elements(object)?);
                Ok(())
            })?;
            if end {
                self.glance = Some(channel);
                return Ok(if whole {
                    Glance::All(elements)
                } else {
                    Glance::Spent
                });
            }
        }
        Ok(Glance::Many)
    }
}

fn write_set_name(table: Table, set: &str, body: &mut Writer<'_>) {
    body.text(number::ELEMENTS_TABLE, table.name)
        .text(number::ELEMENTS_SET, set);
}
