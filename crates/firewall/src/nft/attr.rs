//! Netlink attributes: type, length, value, one inside the other.
//!
//! Numbers are in network byte order, as everywhere in `nf_tables`.

/// Attribute numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h`, by object.
pub(super) mod number {
    pub(in crate::nft) const BATCH_GENERATION: u16 = 1;

    pub(in crate::nft) const GENERATION_ID: u16 = 1;

    pub(in crate::nft) const TABLE_NAME: u16 = 1;

    pub(in crate::nft) const CHAIN_TABLE: u16 = 1;
    pub(in crate::nft) const CHAIN_NAME: u16 = 3;
    pub(in crate::nft) const CHAIN_HOOK: u16 = 4;
    pub(in crate::nft) const CHAIN_TYPE: u16 = 7;
    pub(in crate::nft) const HOOK_NUMBER: u16 = 1;
    pub(in crate::nft) const HOOK_PRIORITY: u16 = 2;

    pub(in crate::nft) const RULE_TABLE: u16 = 1;
    pub(in crate::nft) const RULE_CHAIN: u16 = 2;
    pub(in crate::nft) const RULE_HANDLE: u16 = 3;
    pub(in crate::nft) const RULE_EXPRESSIONS: u16 = 4;
    pub(in crate::nft) const RULE_USERDATA: u16 = 7;

    pub(in crate::nft) const SET_TABLE: u16 = 1;
    pub(in crate::nft) const SET_NAME: u16 = 2;
    pub(in crate::nft) const SET_FLAGS: u16 = 3;
    pub(in crate::nft) const SET_KEY_TYPE: u16 = 4;
    pub(in crate::nft) const SET_KEY_LENGTH: u16 = 5;
    pub(in crate::nft) const SET_ID: u16 = 10;
    pub(in crate::nft) const SET_USERDATA: u16 = 13;

    pub(in crate::nft) const ELEMENTS_TABLE: u16 = 1;
    pub(in crate::nft) const ELEMENTS_SET: u16 = 2;
    pub(in crate::nft) const ELEMENTS_LIST: u16 = 3;
    pub(in crate::nft) const ELEMENT_KEY: u16 = 1;
    pub(in crate::nft) const ELEMENT_USERDATA: u16 = 6;

    /// `NFTA_LIST_ELEM`: an entry of any list.
    pub(in crate::nft) const ENTRY: u16 = 1;

    pub(in crate::nft) const DATA_VALUE: u16 = 1;
    pub(in crate::nft) const DATA_VERDICT: u16 = 2;
    pub(in crate::nft) const VERDICT_CODE: u16 = 1;
    pub(in crate::nft) const VERDICT_CHAIN: u16 = 2;

    pub(in crate::nft) const EXPR_NAME: u16 = 1;
    pub(in crate::nft) const EXPR_DATA: u16 = 2;

    pub(in crate::nft) const META_DESTINATION: u16 = 1;
    pub(in crate::nft) const META_KEY: u16 = 2;

    pub(in crate::nft) const PAYLOAD_DESTINATION: u16 = 1;
    pub(in crate::nft) const PAYLOAD_BASE: u16 = 2;
    pub(in crate::nft) const PAYLOAD_OFFSET: u16 = 3;
    pub(in crate::nft) const PAYLOAD_LENGTH: u16 = 4;

    pub(in crate::nft) const BITWISE_SOURCE: u16 = 1;
    pub(in crate::nft) const BITWISE_DESTINATION: u16 = 2;
    pub(in crate::nft) const BITWISE_LENGTH: u16 = 3;
    pub(in crate::nft) const BITWISE_MASK: u16 = 4;
    pub(in crate::nft) const BITWISE_XOR: u16 = 5;

    pub(in crate::nft) const COMPARE_SOURCE: u16 = 1;
    pub(in crate::nft) const COMPARE_OPERATION: u16 = 2;
    pub(in crate::nft) const COMPARE_DATA: u16 = 3;

    pub(in crate::nft) const LOOKUP_SET: u16 = 1;
    pub(in crate::nft) const LOOKUP_SOURCE: u16 = 2;
    pub(in crate::nft) const LOOKUP_FLAGS: u16 = 5;

    pub(in crate::nft) const IMMEDIATE_DESTINATION: u16 = 1;
    pub(in crate::nft) const IMMEDIATE_DATA: u16 = 2;
}

/// `NLA_F_NESTED` of `linux/netlink.h`.
const NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: neither nested nor in network byte order.
const KIND_MASK: u16 = 0x3fff;
const HEADER: usize = 4;

/// Appends attributes to a message.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |buffer| buffer.extend(value))
    }

    /// A string with its terminating zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |buffer| {
            buffer.extend(value.as_bytes());
            buffer.push(0);
        })
    }

    pub(super) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn i32(&mut self, kind: u16, value: i32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        self.attribute(kind | NESTED, |buffer| body(&mut Writer(buffer)))
    }

    /// `NFTA_DATA_VALUE` inside `kind`: how every constant is written.
    pub(super) fn data(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested(kind, |data| {
            data.bytes(number::DATA_VALUE, value);
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
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    fn iter(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (first, behind) = split_first(rest)?;
            rest = behind;
            Some(first)
        })
    }

    pub(super) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.bytes(kind).map(Self)
    }

    pub(super) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub(super) fn u32(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(super) fn i32(self, kind: u16) -> Option<i32> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| i32::from_be_bytes(*bytes))
    }

    pub(super) fn u64(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// The constant in `kind`.
    pub(super) fn data(self, kind: u16) -> Option<&'a [u8]> {
        self.nested(kind)?.bytes(number::DATA_VALUE)
    }

    /// The entries of a list.
    pub(super) fn entries(self) -> impl Iterator<Item = Self> {
        self.iter()
            .filter(|(kind, _)| *kind == number::ENTRY)
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
