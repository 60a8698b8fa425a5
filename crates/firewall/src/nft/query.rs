//! Questions to the kernel.

use nix::errno::Errno;

use super::change::{Family, Table};
use super::encode::{Message, write_element_key};
use super::number;
use super::socket::{Nft, position};
use super::view::{self, BaseChain, Element, HookedChain, Rule};
use crate::error::Cause;
use crate::nfnetlink::{Channel, DUMP, Frames, Outbox, Reply, SMALLEST_PIECE, Writer};

/// The longest name of a chain (`NFT_NAME_MAXLEN` with its terminating zero is 256).
const NAME_MAX: usize = 255;

/// What [`Nft::look_up`] is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// Is there such a set?
    Set(&'a str),
    /// Is there such a key in a set?
    Element(&'a str, &'a [u8]),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Absent,
    Set,
    Element(Element),
}

/// What [`Nft::glance`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glance {
    /// No other key.
    Nothing,
    /// Other keys, too.
    Others,
    /// The set was changing.
    Unknown,
}

impl Nft {
    /// Reads the generation of the ruleset and then answers questions about a table, the first few
    /// in the same exchange.
    ///
    /// What the answers are used for is committed on condition of the generation: whatever changed
    /// since then has raised it. The kernel raises it a little before the change becomes visible,
    /// though: the answers are certain only if [`Self::generation`] gave the same number before.
    pub(crate) fn look_up(
        &mut self,
        table: Table,
        questions: &[Question<'_>],
    ) -> Result<(u32, Vec<Answer>), Cause> {
        // As many answers as any receive buffer holds.
        const AT_ONCE: usize = 64;
        let (first, others) = questions
            .split_at_checked(AT_ONCE)
            .unwrap_or((questions, &[]));
        let (generation, mut answers) = self.ask(table, first)?;
        for questions in others.chunks(AT_ONCE) {
            answers.extend(self.ask(table, questions)?.1);
        }
        Ok((generation, answers))
    }

    fn ask(
        &mut self,
        table: Table,
        questions: &[Question<'_>],
    ) -> Result<(u32, Vec<Answer>), Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.ask(table, questions));
        }
        let mut outbox = self.outbox();
        let family = (table.family.number(), 0);
        outbox.message(Message::GetGeneration.kind(), 0, (0, 0), |_nothing| {});
        for question in questions {
            match question {
                Question::Set(set) => {
                    outbox.message(Message::GetSet.kind(), 0, family, |body| {
                        body.text(number::SET_TABLE, table.name)
                            .text(number::SET_NAME, set);
                    });
                }
                Question::Element(set, key) => {
                    outbox.message(Message::GetElement.kind(), 0, family, |body| {
                        write_element_key(table.name, set, key, body);
                    });
                }
            }
        }
        let mut generation = 0;
        let mut answers = vec![Answer::Absent; questions.len()];
        self.exchange(&outbox, "find an element", |at, object| {
            let Some(at) = at.checked_sub(1) else {
                generation = view::generation(object)?;
                return Ok(());
            };
            let found = match questions.get(at) {
                Some(Question::Element(..)) => view::elements(object)?.pop().map(Answer::Element),
                _ => Some(Answer::Set),
            };
            if let (Some(slot), Some(found)) = (answers.get_mut(at), found) {
                *slot = found;
            }
            Ok(())
        })?;
        Ok((generation, answers))
    }

    /// Sends single questions and reads one answer for each. What does not exist is skipped.
    pub(crate) fn exchange(
        &mut self,
        outbox: &Outbox,
        request: &str,
        mut each: impl FnMut(usize, &[u8]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let limit = self.limit();
        let first = self.next;
        let count = usize::try_from(outbox.next.wrapping_sub(first)).unwrap_or_default();
        if count == 0 {
            return Ok(());
        }
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

    /// The generation of the ruleset, for a transaction that is to hold only for it.
    ///
    /// A commit raises it before its changes are visible (`nf_tables_commit`), and who reads in
    /// between has the old state under the new number. An empty batch waits for the mutex that
    /// commits hold, and changes nothing: what is read after it is of this generation or later.
    pub(crate) fn generation(&mut self) -> Result<u32, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.generation());
        }
        let generation = self.read_generation()?;
        self.wait_for_commit()?;
        Ok(generation)
    }

    pub(super) fn read_generation(&mut self) -> Result<u32, Cause> {
        let mut outbox = self.outbox();
        outbox.message(Message::GetGeneration.kind(), 0, (0, 0), |_nothing| {});
        let mut generation = 0;
        self.exchange(&outbox, "tell the ruleset's generation", |_only, object| {
            generation = view::generation(object)?;
            Ok(())
        })?;
        Ok(generation)
    }

    /// All rules of a chain, in order, or those of all chains of a table; none if there is no such
    /// chain or table.
    pub(crate) fn rules(&mut self, table: Table, chain: Option<&str>) -> Result<Vec<Rule>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.rules(table, chain));
        }
        self.dump(Message::GetRule, table, view::rule, |body| {
            body.text(number::RULE_TABLE, table.name);
            if let Some(chain) = chain {
                body.text(number::RULE_CHAIN, chain);
            }
        })
    }

    /// The names of all sets of a table; none if there is no such table.
    pub(crate) fn sets(&mut self, table: Table) -> Result<Vec<String>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.sets(table));
        }
        self.dump(Message::GetSet, table, view::set_name, |body| {
            body.text(number::SET_TABLE, table.name);
        })
    }

    /// The sets of all tables of a family: table and name.
    pub(crate) fn sets_of_family(
        &mut self,
        family: Family,
    ) -> Result<Vec<(String, String)>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.sets_of_family(family));
        }
        let kind = Message::GetSet.kind();
        self.list(
            |outbox| outbox.message(kind, DUMP, (family.number(), 0), |_all| {}),
            view::set_place,
        )
    }

    /// The chains of all tables of a family that the kernel calls.
    pub(crate) fn hooked_chains(&mut self, family: Family) -> Result<Vec<HookedChain>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.hooked_chains(family));
        }
        let kind = Message::GetChain.kind();
        let chains = self.list(
            |outbox| outbox.message(kind, DUMP, (family.number(), 0), |_all| {}),
            |object| Ok(view::hooked_chain(object)),
        )?;
        Ok(chains.into_iter().flatten().collect())
    }

    /// All elements of a set; none if there is no such set.
    pub(crate) fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.elements(table, set));
        }
        let pieces = self.dump(Message::GetElement, table, view::elements, |body| {
            write_set_name(table, set, body);
        })?;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// The hooks of chains, asked for in one exchange; `None` where there is no such chain, or nothing
    /// calls it.
    pub(crate) fn base_chains(
        &mut self,
        chains: &[(Table, &str)],
    ) -> Result<Vec<Option<BaseChain>>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.base_chains(chains));
        }
        let mut hooks = vec![None; chains.len()];
        self.find_chains(chains, |at, object| {
            if let Some(slot) = hooks.get_mut(at) {
                *slot = view::base_chain(object);
            }
        })?;
        Ok(hooks)
    }

    /// Which of these chains there are, asked in one exchange.
    pub(crate) fn have_chains(&mut self, chains: &[(Table, &str)]) -> Result<Vec<bool>, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.have_chains(chains));
        }
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
        // What no chain can be called, the kernel does not look for but refuses.
        let can_be = |(_, (_, chain)): &(usize, &(Table, &str))| chain.len() <= NAME_MAX;
        let (places, asked): (Vec<usize>, Vec<_>) =
            chains.iter().enumerate().filter(can_be).unzip();
        let mut outbox = self.outbox();
        for (table, chain) in asked {
            let family = (table.family.number(), 0);
            outbox.message(Message::GetChain.kind(), 0, family, |body| {
                body.text(number::CHAIN_TABLE, table.name)
                    .text(number::CHAIN_NAME, chain);
            });
        }
        self.exchange(&outbox, "find a chain", |at, object| {
            if let Some(place) = places.get(at) {
                found(*place, object);
            }
            Ok(())
        })
    }

    fn dump<T>(
        &mut self,
        message: Message,
        table: Table,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
        filter: impl Fn(&mut Writer<'_>),
    ) -> Result<Vec<T>, Cause> {
        let family = (table.family.number(), 0);
        self.list(
            |outbox| outbox.message(message.kind(), DUMP, family, &filter),
            read,
        )
    }

    /// Reads a whole list, again and again while it changes underneath (`NLM_F_DUMP_INTR`).
    pub(crate) fn list<T>(
        &mut self,
        request: impl Fn(&mut Outbox),
        read: impl Fn(&[u8]) -> Result<T, Cause>,
    ) -> Result<Vec<T>, Cause> {
        let limit = self.limit();
        loop {
            let mut outbox = self.outbox();
            request(&mut outbox);
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

    /// Whether a set holds anything but `expected` keys. Costs the same however large the set is:
    /// reading ends with the first other key, in the first piece of the list.
    pub(crate) fn glance(
        &mut self,
        table: Table,
        set: &str,
        expected: impl Fn(&[u8]) -> bool,
    ) -> Result<Glance, Cause> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return Ok(fake.glance(table, set, expected));
        }
        let limit = self.limit();
        let mut channel = match self.glance.take() {
            Some(channel) => channel,
            None => Channel::open(SMALLEST_PIECE)?,
        };
        let mut outbox = self.outbox();
        let family = (table.family.number(), 0);
        outbox.message(Message::GetElement.kind(), DUMP, family, |body| {
            write_set_name(table, set, body);
        });
        let seq = self.next;
        self.next = outbox.next;
        channel.send(&outbox.bytes)?;
        let (mut whole, mut others) = (true, false);
        loop {
            let end = channel.read_piece(seq, limit, &mut whole, &mut |object| {
                let elements = view::elements(object)?;
                others |= elements.iter().any(|element| !expected(&element.key));
                Ok(())
            })?;
            if end {
                self.glance = Some(channel);
            } else if others {
                self.spent.push(channel);
            } else {
                continue;
            }
            return Ok(match (others, whole) {
                (true, _) => Glance::Others,
                (false, true) => Glance::Nothing,
                (false, false) => Glance::Unknown,
            });
        }
    }
}

fn write_set_name(table: Table, set: &str, body: &mut Writer<'_>) {
    body.text(number::ELEMENTS_TABLE, table.name)
        .text(number::ELEMENTS_SET, set);
}
