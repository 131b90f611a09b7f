//! Memory for the C libraries: malloc, and nothing of Rust's standard library.
//!
//! With this, and since no function here can panic, the object that holds the library refers to C
//! alone, and a program that links it grows by that object, not by Rust's runtime. It is a feature
//! because a Rust program chooses its own allocator.

use std::alloc::{GlobalAlloc, Layout};

struct Malloc;

/// What malloc aligns to on every system that plan9port runs on.
const ALIGNED: usize = 2 * size_of::<usize>();

// SAFETY: malloc's contract is GlobalAlloc's, for alignments that malloc gives; others are refused.
unsafe impl GlobalAlloc for Malloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNED {
            return std::ptr::null_mut();
        }
        // SAFETY: malloc takes any size.
        unsafe { libc::malloc(layout.size()).cast() }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the caller's promise: it comes from malloc.
        unsafe { libc::free(memory.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, _: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the alignment is malloc's, or there would be no memory.
        unsafe { libc::realloc(memory.cast(), size).cast() }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;
