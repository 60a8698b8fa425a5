//! Netlink attributes: type, length, value, one inside the other.
//!
//! Numbers are in network byte order, as everywhere in netfilter.

/// `NLA_F_NESTED` of `linux/netlink.h`.
const NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: neither nested nor in network byte order.
const KIND_MASK: u16 = 0x3fff;
const HEADER: usize = 4;
/// `NFTA_DATA_VALUE`: how `nf_tables` wraps every constant.
const DATA_VALUE: u16 = 1;
/// `NFTA_LIST_ELEM`: an entry of any of its lists.
pub(crate) const LIST_ENTRY: u16 = 1;

/// Appends attributes to a message.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |buffer| buffer.extend(value))
    }

    /// A string with its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |buffer| {
            buffer.extend(value.as_bytes());
            buffer.push(0);
        })
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn i32(&mut self, kind: u16, value: i32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        self.attribute(kind | NESTED, |buffer| body(&mut Writer(buffer)))
    }

    /// `NFTA_DATA_VALUE` inside `kind`: how every constant is written.
    pub(crate) fn data(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested(kind, |data| {
            data.bytes(DATA_VALUE, value);
        })
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        value(self.0);
        // Nothing here comes near 64 KiB; a list of many elements would need several messages.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.0.resize(self.0.len().next_multiple_of(HEADER), 0);
        self
    }
}

/// Attributes that the kernel sent. Reading stops where they are damaged: what is behind counts as
/// absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    fn iter(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (first, behind) = split_first(rest)?;
            rest = behind;
            Some(first)
        })
    }

    pub(crate) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub(crate) fn nested(self, kind: u16) -> Option<Self> {
        self.bytes(kind).map(Self)
    }

    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn i32(self, kind: u16) -> Option<i32> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| i32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// The constant in `kind`.
    pub(crate) fn data(self, kind: u16) -> Option<&'a [u8]> {
        self.nested(kind)?.bytes(DATA_VALUE)
    }

    /// The entries of a list.
    pub(crate) fn entries(self) -> impl Iterator<Item = Self> {
        self.iter()
            .filter(|(kind, _)| *kind == LIST_ENTRY)
            .map(|(_, value)| Self(value))
    }
}

/// A kind and a value.
type Attribute<'a> = (u16, &'a [u8]);

/// The first attribute, and what is behind it.
fn split_first(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let field = |at: usize| bytes.get(at..)?.first_chunk().copied();
    let length = usize::from(u16::from_ne_bytes(field(0)?));
    let kind = u16::from_ne_bytes(field(2)?) & KIND_MASK;
    let value = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(HEADER)..);
    Some(((kind, value), rest.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = Vec::new();
        Writer(&mut buffer)
            .text(1, "abc")
            .u32(2, 7)
            .nested(3, |inner| {
                inner.data(4, b"xy").i32(5, -300).u64(6, 1 << 40);
            })
            .bytes(7, b"");
        let read = Attributes(&buffer);
        assert_eq!(read.text(1).as_deref(), Some("abc"));
        assert_eq!(read.u32(2), Some(7));
        let inner = read.nested(3).unwrap();
        assert_eq!(inner.data(4), Some(&b"xy"[..]));
        assert_eq!(inner.i32(5), Some(-300));
        assert_eq!(inner.u64(6), Some(1 << 40));
        assert_eq!(read.bytes(7), Some(&b""[..]));
        assert_eq!(read.bytes(8), None);
        assert_eq!(buffer.len() % 4, 0);
    }

    #[test]
    fn damaged_attributes_are_absent_and_end_the_reading() {
        for bytes in [
            &b""[..],
            b"\x08",
            b"\x00\x00\x01\x00",
            b"\x03\x00\x01\x00",
            b"\x09\x00\x01\x00abcd",
        ] {
            assert_eq!(Attributes(bytes).iter().count(), 0, "{bytes:?}");
        }
    }
}
