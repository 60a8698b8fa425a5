//! DELs that come together delete their links together, as databases commit transactions.
//!
//! Whoever has bound the abstract socket of the host's namespace leads. Others connect to it: each is
//! told the number of a group, puts its link into it, says so, and waits for the leader to hang up.
//! Then its link is gone, or it tries again. Nobody hands over anything that would have to be trusted:
//! that a follower may delete its link, the kernel has found when it let it be put into the group.

use std::cell::{OnceCell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use cni_local::meeting::{Meeting, bind, callers, meet};
use cni_netlink::random_bytes;
use cni_plugin::Deadline;

/// The name of the socket.
const NAME: &str = "tenon bridge DEL";

/// How long the leader waits for a follower that it has told the group.
const GATHERING: Duration = Duration::from_millis(200);

/// How often a leader looks for followers: those of the first time take a while to follow, in which
/// others come.
const GATHERINGS: usize = 3;

/// What a DEL is to others.
pub(super) enum Part {
    Lead(Leader),
    Follow(Line),
    /// There is nobody to lead or to follow.
    Alone,
}

/// The one that deletes for all.
pub(super) struct Leader {
    listener: UnixListener,
    /// Drawn when it is needed.
    group: OnceCell<u32>,
    lines: RefCell<Vec<UnixStream>>,
}

/// A follower's connection to its leader.
pub(super) struct Line(UnixStream);

/// Takes the lead, or finds who has it.
pub(super) fn take_part() -> Part {
    match meet(NAME) {
        Meeting::First(listener) => Leader::new(listener).map_or(Part::Alone, Part::Lead),
        Meeting::Ours(stream) => Part::Follow(Line(stream)),
        Meeting::Nobody => Part::Alone,
    }
}

impl Leader {
    /// Takes the lead, if nobody has it.
    pub(super) fn take_lead() -> Option<Self> {
        bind(NAME).and_then(Self::new).ok()
    }

    fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            group: OnceCell::new(),
            lines: RefCell::default(),
        })
    }

    /// The group of this leader's links.
    pub(super) fn group(&self) -> u32 {
        *self.group.get_or_init(draw_group)
    }

    /// Lets everybody follow who wants to by now. Answers how many did.
    pub(super) fn gather(&self) -> usize {
        let deadline = Deadline::after(GATHERING);
        for _time in 0..GATHERINGS {
            let mut new: Vec<UnixStream> = callers(&self.listener)
                .filter(|stream| (&*stream).write_all(&self.group().to_ne_bytes()).is_ok())
                .collect();
            if new.is_empty() {
                break;
            }
            new.retain_mut(|stream| hear(stream, deadline, &mut [0]).is_ok());
            self.lines.borrow_mut().append(&mut new);
        }
        self.lines.borrow().len()
    }
}

impl Line {
    /// Does what the leader says, `join` being how to put the link into a group, and waits until the
    /// leader is done.
    ///
    /// # Errors
    /// The leader is gone, or says nothing.
    pub(super) fn follow(
        mut self,
        deadline: Deadline,
        join: impl FnOnce(u32) -> bool,
    ) -> io::Result<()> {
        let mut group = [0; 4];
        hear(&mut self.0, deadline, &mut group)?;
        if !join(u32::from_ne_bytes(group)) {
            return Ok(());
        }
        self.0.write_all(&[1])?;
        match hear(&mut self.0, deadline, &mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        }
    }
}

fn hear(stream: &mut UnixStream, deadline: Deadline, words: &mut [u8]) -> io::Result<()> {
    // Zero would be for ever.
    let patience = deadline.remaining().max(Duration::from_millis(1));
    stream.set_read_timeout(Some(patience))?;
    stream.read_exact(words)
}

/// A number that nobody has: drawn, out of those that nobody chooses by hand.
fn draw_group() -> u32 {
    const UPPER: u32 = 1 << 30;
    let [a, b, c, d, ..] = random_bytes();
    let drawn = u32::from_ne_bytes([a, b, c, d]);
    UPPER | (drawn & (UPPER - 1))
}
