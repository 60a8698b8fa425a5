//! A lease, its form in a file, and the seam through which the allocator sees leases.

use std::net::IpAddr;

use cni_types::Attachment;

use crate::blocks::{Bitmap, Block};
use crate::store::StoreError;

/// What separates container and interface in a lease file, on every system.
const SEPARATOR: &str = "\r\n";

/// One reserved address and who has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// The address.
    pub addr: IpAddr,
    /// The container as the file has it; somebody else may have written it.
    pub container_id: String,
    /// The interface; `None` in files of reference plugins before 0.7, which knew one interface
    /// per container.
    pub ifname: Option<String>,
}

impl Lease {
    /// Reads a lease file as the reference does: white space around the content does not matter.
    /// `None` if it names nobody, as a file that a crash or a power loss left empty.
    #[must_use]
    pub fn parse(addr: IpAddr, content: &[u8]) -> Option<Self> {
        let content = String::from_utf8_lossy(trim(content));
        if content.is_empty() {
            return None;
        }
        let (container_id, ifname) = match content.split_once(SEPARATOR) {
            Some((container_id, ifname)) => (container_id, Some(ifname.to_owned())),
            None => (content.as_ref(), None),
        };
        Some(Self {
            addr,
            container_id: container_id.to_owned(),
            ifname,
        })
    }

    /// How the lease relates to an attachment.
    #[must_use]
    pub fn holding(&self, attachment: &Attachment) -> Holding {
        if self.container_id != attachment.container_id.as_str() {
            return Holding::Others;
        }
        match &self.ifname {
            None => Holding::Container,
            Some(ifname) if ifname == attachment.ifname.as_str() => Holding::Attachment,
            Some(_) => Holding::Others,
        }
    }
}

/// Whose a lease is, seen from one attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// The attachment's.
    Attachment,
    /// The container's, in the old form without an interface.
    Container,
    /// Somebody else's.
    Others,
    /// Nobody's: the file is empty. Under the lock such a file is always what a crash left.
    Nobody,
}

/// The content of a lease file: `container CR LF interface`.
#[derive(Debug, Clone)]
pub(crate) struct LeaseText(String);

impl LeaseText {
    pub(crate) fn of(attachment: &Attachment) -> Self {
        let (container, ifname) = (attachment.container_id.as_str(), attachment.ifname.as_str());
        Self([container, SEPARATOR, ifname].concat())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text that the old form has: the container without the interface.
    pub(crate) fn old_form(&self) -> &[u8] {
        let text = self.0.split_once(SEPARATOR);
        text.map_or(self.as_bytes(), |(container, _)| container.as_bytes())
    }

    /// [`Lease::holding`] without making a [`Lease`]: a scan asks this of every file.
    pub(crate) fn holding(&self, content: &[u8]) -> Holding {
        let content = trim(content);
        if content.is_empty() {
            return Holding::Nobody;
        }
        match self.as_bytes().strip_prefix(content) {
            Some([]) => Holding::Attachment,
            Some(rest) if rest.starts_with(SEPARATOR.as_bytes()) => Holding::Container,
            _ => Holding::Others,
        }
    }
}

/// Whether a lease file names nobody.
pub(crate) fn is_nobodys(content: &[u8]) -> bool {
    trim(content).is_empty()
}

/// White space as the reference trims it, and the zeros that some filesystems leave in a file
/// after a power loss.
pub(crate) fn trim(content: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
    let start = content
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(content.len());
    let end = content
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last + 1);
    content.get(start..end).unwrap_or_default()
}

/// What an attachment has of a network's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The attachment's addresses, sorted.
    pub own: Vec<IpAddr>,
    /// The container's addresses in the old form, without an interface, sorted.
    pub legacy: Vec<IpAddr>,
}

impl Survey {
    /// Every address that is the attachment's or, in the old form, its container's.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        self.own.iter().chain(&self.legacy).copied()
    }

    /// What a DEL releases: the attachment's addresses, or else those of the old form.
    #[must_use]
    pub fn to_release(&self) -> &[IpAddr] {
        if self.own.is_empty() {
            &self.legacy
        } else {
            &self.own
        }
    }
}

/// The leases of one network, locked for whoever has this. What the allocator needs, no more.
pub trait Store {
    /// What the attachment holds.
    ///
    /// # Errors
    /// The leases cannot be read.
    fn survey(&mut self, attachment: &Attachment) -> Result<Survey, StoreError>;

    /// Which addresses of a block are reserved, or were when the survey was made.
    ///
    /// # Errors
    /// The leases cannot be read.
    fn taken(&mut self, block: Block) -> Result<Bitmap, StoreError>;

    /// Before an address is refused: makes sure that [`Self::taken`] tells what the leases
    /// themselves say. `true` if it did not, so that it is worth another look.
    ///
    /// # Errors
    /// The leases cannot be read.
    fn recount(&mut self) -> Result<bool, StoreError>;

    /// The address that was reserved last in range set `set`.
    fn last_reserved(&mut self, set: usize) -> Option<IpAddr>;

    /// Reserves an address, unless it is taken, and remembers it as the set's last one.
    ///
    /// # Errors
    /// The lease cannot be written; then there is none.
    fn reserve(
        &mut self,
        addr: IpAddr,
        attachment: &Attachment,
        set: usize,
    ) -> Result<bool, StoreError>;

    /// Gives an address back.
    ///
    /// # Errors
    /// The lease cannot be removed. That it is gone already is no error.
    fn release(&mut self, addr: IpAddr) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str, ifname: &str) -> Attachment {
        Attachment {
            network: "net".parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    #[test]
    fn the_text_is_the_references_to_the_byte() {
        let text = LeaseText::of(&attachment("abc", "eth0"));
        assert_eq!(text.as_bytes(), b"abc\r\neth0");
        assert_eq!(text.old_form(), b"abc");
    }

    #[test]
    fn whose_a_file_is() {
        let me = attachment("abc", "eth0");
        let text = LeaseText::of(&me);
        let addr = "10.0.0.2".parse().unwrap();
        for (content, holding) in [
            (&b"abc\r\neth0"[..], Holding::Attachment),
            (b" abc\r\neth0\n", Holding::Attachment),
            (b"abc", Holding::Container),
            (b"abc\n", Holding::Container),
            (b"abc\r\neth1", Holding::Others),
            (b"abc\r\neth", Holding::Others),
            (b"abc\r\neth00", Holding::Others),
            (b"ab", Holding::Others),
            (b"abcd", Holding::Others),
            (b"ABC\r\neth0", Holding::Others),
            (b"\xff\xfe", Holding::Others),
            (b"", Holding::Nobody),
            (b" \r\n\t", Holding::Nobody),
            (b"\0\0\0\0", Holding::Nobody),
        ] {
            assert_eq!(text.holding(content), holding, "{content:?}");
            let typed = Lease::parse(addr, content).map_or(Holding::Nobody, |l| l.holding(&me));
            assert_eq!(typed, holding, "{content:?}");
        }
    }

    #[test]
    fn del_prefers_the_new_form() {
        let (new, old) = (["10.0.0.2".parse().unwrap()], ["10.0.0.3".parse().unwrap()]);
        let both = Survey {
            own: new.to_vec(),
            legacy: old.to_vec(),
        };
        assert_eq!(both.to_release(), new);
        let survey = Survey {
            own: Vec::new(),
            ..both
        };
        assert_eq!(survey.to_release(), old);
    }
}
