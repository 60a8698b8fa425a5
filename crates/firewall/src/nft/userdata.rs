//! What user space stores beside an object, in libnftnl's form: type, length, value, a byte each
//! for the first two (`libnftnl/udata.h`). `nft` prints a comment as `comment "..."`.

/// `NFTNL_UDATA_RULE_COMMENT` and `NFTNL_UDATA_SET_ELEM_COMMENT`: both are 0.
const COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`
const KEY_BYTE_ORDER: u8 = 0;
/// `NFTNL_UDATA_COMMENT_MAXLEN`: the longest comment that `nft` reads back.
pub(crate) const COMMENT_MAX: usize = 128;

/// `enum byteorder` of nft's `datatype.h`.
#[derive(Debug, Clone, Copy)]
pub(super) enum ByteOrder {
    Host = 1,
    Big = 2,
}

/// The user data of a set: how its keys are ordered.
pub(super) fn key_byte_order(order: ByteOrder) -> [u8; 6] {
    let [a, b, c, d] = (order as u32).to_ne_bytes();
    [KEY_BYTE_ORDER, 4, a, b, c, d]
}

/// The user data of a rule or an element: a comment. What is longer than `nft` can read is cut.
pub(super) fn comment_of(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(COMMENT_MAX).collect();
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length][..], &text, &[0]].concat()
}

/// Finds the comment in the user data of a rule or an element.
pub(super) fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let value = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        userdata = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_back() {
        let bytes = comment_of("abc");
        assert_eq!(bytes, b"\x00\x04abc\x00");
        assert_eq!(comment(&bytes).as_deref(), Some("abc"));
        assert_eq!(
            comment(b"\x01\x02xx\x00\x04abc\x00").as_deref(),
            Some("abc")
        );
    }

    #[test]
    fn too_long_a_comment_is_cut_to_what_nft_reads() {
        let bytes = comment_of(&"x".repeat(300));
        assert_eq!(bytes.len(), 2 + COMMENT_MAX + 1);
        assert_eq!(comment(&bytes), Some("x".repeat(COMMENT_MAX)));
    }

    #[test]
    fn damaged_user_data_holds_no_comment() {
        for bytes in [&b""[..], b"\x00", b"\x00\x09abc", b"\x01\x01x"] {
            assert_eq!(comment(bytes), None, "{bytes:?}");
        }
    }
}
