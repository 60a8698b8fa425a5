//! Memory for a process that lives for a millisecond.
//!
//! A general allocator asks the kernel for memory piece by piece and gives it back: in an ADD twenty
//! times, at eight microseconds for two pages on a virtual machine. A plugin needs some tens of
//! kilobytes in all its life. So it takes them from one array that is part of the program, one behind the
//! other; only the pages that are used ever exist. Of what is freed just the last piece is used again,
//! which is what a growing buffer needs. When the array is full, the general allocator goes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes a plugin gets of its array: several times what an ADD uses.
pub const PLUGIN: usize = 256 << 10;

/// An array of `SIZE` bytes to allocate from, and the general allocator behind it.
#[repr(C, align(64))]
pub struct Arena<const SIZE: usize> {
    bytes: UnsafeCell<[u8; SIZE]>,
    /// Everything before this offset is in use, or was freed and is not used again.
    used: AtomicUsize,
}

#[expect(unsafe_code, reason = "an allocator hands out its bytes by address")]
// SAFETY: the bytes are reached only through pointers handed out by `alloc`, and `used` is moved by
// compare-and-swap, so that no two allocations that live at once share a byte.
unsafe impl<const SIZE: usize> Sync for Arena<SIZE> {}

impl<const SIZE: usize> Arena<SIZE> {
    /// An array of which nothing is used.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is made once, as a constant")]
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; SIZE]),
            used: AtomicUsize::new(0),
        }
    }

    fn base(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Where in the array a pointer points to, if it does.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let offset = pointer.addr().checked_sub(self.base().addr())?;
        (offset < SIZE).then_some(offset)
    }

    /// The offset of `layout` behind what is in use, and the end of it.
    fn place(&self, used: usize, layout: Layout) -> Option<(usize, usize)> {
        let base = self.base().addr();
        let start = base
            .checked_add(used)?
            .checked_next_multiple_of(layout.align())?
            - base;
        let end = start.checked_add(layout.size())?;
        (end <= SIZE).then_some((start, end))
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let place = |used| self.place(used, layout);
        let moved = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                place(used).map(|(_, end)| end)
            });
        let (start, _) = place(moved.ok()?)?;
        Some(self.base().wrapping_add(start))
    }

    /// Moves the end of what is in use, if that is the end of this piece.
    fn move_end(&self, from: usize, to: usize) -> bool {
        self.used
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[expect(unsafe_code, reason = "the trait is made of unsafe functions")]
// SAFETY: `take` gives out aligned, disjoint pieces of an array that lives as long as the allocator;
// whatever is not in the array is the general allocator's. No function panics.
unsafe impl<const SIZE: usize> GlobalAlloc for Arena<SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(piece) => piece,
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            Some(start) => {
                let _only_the_last = self.move_end(start + layout.size(), start);
            }
            // SAFETY: it is no piece of the array, so it came from there.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = self.offset(pointer) else {
            // SAFETY: it is no piece of the array, so it came from there.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        if start.checked_add(size).is_some_and(|end| end <= SIZE)
            && self.move_end(start + layout.size(), start + size)
        {
            return pointer;
        }
        // SAFETY: the caller promises that `size` is a valid size for this alignment.
        let layout_then = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not zero, by the caller's promise.
        let moved = unsafe { self.alloc(layout_then) };
        if !moved.is_null() {
            // SAFETY: both pieces are at least this long, and they are disjoint, since the old one is
            // still in use.
            unsafe { ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size)) };
            // SAFETY: the old piece came from here with this layout, and is not used again.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

impl<const SIZE: usize> fmt::Debug for Arena<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("size", &SIZE)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "the allocator's functions are unsafe")]
mod tests {
    use super::*;

    /// A piece, and the byte it is filled with.
    struct Piece {
        pointer: *mut u8,
        layout: Layout,
        fill: u8,
    }

    impl Piece {
        fn take(arena: &Arena<4096>, size: usize, align: usize, fill: u8) -> Self {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the size is not zero.
            let pointer = unsafe { arena.alloc(layout) };
            assert!(!pointer.is_null() && pointer.addr().is_multiple_of(align));
            // SAFETY: it has so many bytes.
            unsafe { pointer.write_bytes(fill, size) };
            Self {
                pointer,
                layout,
                fill,
            }
        }

        fn resize(&mut self, arena: &Arena<4096>, size: usize) {
            self.check();
            // SAFETY: it came from this arena with this layout, and the size is not zero.
            self.pointer = unsafe { arena.realloc(self.pointer, self.layout, size) };
            let kept = self.layout.size().min(size);
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            // SAFETY: it has so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(self.pointer, kept) };
            assert!(bytes.iter().all(|byte| *byte == self.fill));
            // SAFETY: it has so many bytes.
            unsafe { self.pointer.write_bytes(self.fill, size) };
        }

        /// Nobody else has written into it.
        fn check(&self) {
            // SAFETY: it has so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(self.pointer, self.layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == self.fill));
        }

        fn free(self, arena: &Arena<4096>) {
            self.check();
            // SAFETY: it came from this arena with this layout.
            unsafe { arena.dealloc(self.pointer, self.layout) };
        }
    }

    #[test]
    fn pieces_that_live_at_once_share_no_byte() {
        // A small generator: the test is about many sequences, each the same every time.
        for seed in 1..200_u64 {
            let arena = Arena::new();
            let mut state = seed;
            let mut next = |below: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                usize::try_from(state >> 33).unwrap() % below
            };
            let mut pieces: Vec<Piece> = Vec::new();
            for step in 0..200 {
                let at = next(pieces.len().max(1));
                match next(4) {
                    0 | 1 => {
                        let fill = u8::try_from(step % 251).unwrap();
                        pieces.push(Piece::take(&arena, 1 + next(300), 1 << next(7), fill));
                    }
                    2 if !pieces.is_empty() => pieces[at].resize(&arena, 1 + next(600)),
                    3 if !pieces.is_empty() => pieces.remove(at).free(&arena),
                    _ => {}
                }
            }
            pieces.iter().for_each(Piece::check);
            for piece in pieces {
                piece.free(&arena);
            }
        }
    }

    #[test]
    fn a_buffer_grows_where_it_is_and_is_used_again() {
        let arena = Arena::new();
        let mut buffer = Piece::take(&arena, 16, 1, 7);
        let place = buffer.pointer;
        buffer.resize(&arena, 1000);
        assert_eq!(buffer.pointer, place);
        buffer.free(&arena);
        assert_eq!(Piece::take(&arena, 2000, 1, 8).pointer, place);
    }

    #[test]
    fn what_does_not_fit_comes_from_the_general_allocator() {
        let arena = Arena::new();
        let small = Piece::take(&arena, 4000, 1, 1);
        let large = Piece::take(&arena, 200, 8, 2);
        assert!(arena.offset(small.pointer).is_some());
        assert!(arena.offset(large.pointer).is_none());
        large.free(&arena);
        small.free(&arena);
    }
}
