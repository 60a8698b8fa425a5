//! The ELF note that says what a binary was built from ([elf(5)], "Notes").
//!
//! [elf(5)]: https://man7.org/linux/man-pages/man5/elf.5.html

use super::Build;

/// The note's name, which its maker's name is, with the NUL that belongs to it.
const NAME: &[u8] = b"Tenon\0";

/// The note's type, within that name: a digest of sources.
const SOURCES: u32 = 1;

/// `PT_NOTE`: a segment of notes.
const PT_NOTE: u32 = 4;

/// The note, as `Elf64_Nhdr`, name and contents, each padded to four bytes. [`stamp!`](crate::stamp)
/// puts it into a binary.
#[repr(C)]
#[derive(Debug)]
pub struct Note {
    name_size: u32,
    build_size: u32,
    kind: u32,
    name: [u8; 8],
    build: Build,
}

impl Note {
    /// Says that a binary was built from `build`.
    #[must_use]
    pub const fn new(build: &Build) -> Self {
        Self {
            name_size: 6,
            build_size: 32,
            kind: SOURCES,
            name: *b"Tenon\0\0\0",
            build: *build,
        }
    }
}

/// Puts the [`Note`] of a digest into the binary: once, in `main.rs`.
#[macro_export]
macro_rules! stamp {
    ($build:expr) => {
        #[used]
        #[expect(unsafe_code, reason = "a note is a note by the name of its section")]
        // SAFETY: the section is of our own name and holds nothing but this constant.
        #[unsafe(link_section = ".note.tenon")]
        static NOTE: $crate::linked::Note = $crate::linked::Note::new($build);
    };
}

/// The digest in the note of a 64-bit binary of this machine, of which `head` is the beginning.
pub(super) fn find(head: &[u8]) -> Option<&Build> {
    let ident = head.get(..6)?;
    let native = if cfg!(target_endian = "little") { 1 } else { 2 };
    if ident != [0x7f, b'E', b'L', b'F', 2, native] {
        return None;
    }
    let headers = usize::try_from(u64_at(head, 32)?).ok()?;
    let (size, count) = (u16_at(head, 54)?, u16_at(head, 56)?);
    (0..usize::from(count)).find_map(|index| {
        let header = head.get(headers.checked_add(index * usize::from(size))?..)?;
        if u32_at(header, 0)? != PT_NOTE {
            return None;
        }
        let start = usize::try_from(u64_at(header, 8)?).ok()?;
        let length = usize::try_from(u64_at(header, 32)?).ok()?;
        in_segment(head.get(start..start.checked_add(length)?)?)
    })
}

fn in_segment(mut notes: &[u8]) -> Option<&Build> {
    loop {
        let name_size = usize::try_from(u32_at(notes, 0)?).ok()?;
        let content_size = usize::try_from(u32_at(notes, 4)?).ok()?;
        let kind = u32_at(notes, 8)?;
        let name = notes.get(12..)?.get(..name_size)?;
        let rest = notes.get(12 + name_size.next_multiple_of(4)..)?;
        let content = rest.get(..content_size)?;
        if name == NAME && kind == SOURCES {
            return content.try_into().ok();
        }
        notes = rest.get(content_size.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: Build = *b"0123456789abcdef0123456789abcdef";

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend(u32::try_from(name.len()).unwrap().to_ne_bytes());
        note.extend(u32::try_from(content.len()).unwrap().to_ne_bytes());
        note.extend(kind.to_ne_bytes());
        for part in [name, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// A binary with one segment of another kind and one of these notes.
    fn binary(notes: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64 + 2 * 56];
        let native = if cfg!(target_endian = "little") { 1 } else { 2 };
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, native]);
        head[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        head[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        head[56..58].copy_from_slice(&2_u16.to_ne_bytes());
        head[64..68].copy_from_slice(&1_u32.to_ne_bytes());
        let (at, start) = (64 + 56, head.len() as u64);
        head[at..at + 4].copy_from_slice(&PT_NOTE.to_ne_bytes());
        head[at + 8..at + 16].copy_from_slice(&start.to_ne_bytes());
        head[at + 32..at + 40].copy_from_slice(&(notes.len() as u64).to_ne_bytes());
        head.extend(notes);
        head
    }

    #[test]
    fn the_note_is_found_behind_others() {
        let foreign = note(b"GNU\0", 3, &[7; 20]);
        let other_kind = note(NAME, 2, &[7; 32]);
        let ours = note(NAME, SOURCES, &BUILD);
        let head = binary(&[foreign, other_kind, ours].concat());
        assert_eq!(find(&head), Some(&BUILD));
    }

    #[test]
    fn the_constant_is_laid_out_as_a_note() {
        let note = Note::new(&BUILD);
        assert_eq!(size_of_val(&note), 12 + 8 + 32);
        assert_eq!(usize::try_from(note.name_size), Ok(NAME.len()));
        assert_eq!(usize::try_from(note.build_size), Ok(BUILD.len()));
        assert!(note.name.starts_with(NAME));
    }

    #[test]
    fn no_other_file_has_one() {
        let whole = binary(&note(NAME, SOURCES, &BUILD));
        for length in 0..whole.len() {
            assert_eq!(find(&whole[..length]), None, "cut at {length}");
        }
        assert_eq!(find(b"#!/bin/sh\nexec host-local\n"), None);
        assert_eq!(find(&binary(&note(NAME, SOURCES, &BUILD[..20]))), None);
        assert_eq!(find(&binary(&note(b"GNU\0", SOURCES, &BUILD))), None);
        let mut narrow = whole.clone();
        narrow[4] = 1;
        assert_eq!(find(&narrow), None);
        // Headers that point out of the file, or around the address space.
        for at in [32, 64 + 56 + 8, 64 + 56 + 32] {
            for value in [u64::MAX, whole.len() as u64, 1 << 40] {
                let mut broken = whole.clone();
                broken[at..at + 8].copy_from_slice(&value.to_ne_bytes());
                assert_eq!(find(&broken), None, "{value} at {at}");
            }
        }
        for at in [0, 4] {
            let mut huge = note(NAME, SOURCES, &BUILD);
            huge[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
            assert_eq!(find(&binary(&huge)), None);
        }
    }
}
