//! An allocator for the C libraries: malloc, and nothing from Rust's standard library.
//!
//! The object that contains the library then refers to C functions only, because no function in it
//! can panic either. A program that links it grows by that object and not by Rust's runtime. This
//! is a feature because a Rust program chooses its own allocator.

use std::alloc::{GlobalAlloc, Layout};

struct Malloc;

/// The alignment that malloc guarantees on every system on which plan9port runs.
const ALIGNED: usize = 2 * size_of::<usize>();

// SAFETY: malloc's contract is GlobalAlloc's, for alignments that malloc gives; for others it is
// posix_memalign's; free releases its memory too.
unsafe impl GlobalAlloc for Malloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNED {
            return aligned(layout);
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
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() > ALIGNED {
            // SAFETY: the caller's promise.
            return unsafe { realigned(self, memory, layout, size) };
        }
        // SAFETY: as above; the alignment is malloc's.
        unsafe { libc::realloc(memory.cast(), size).cast() }
    }
}

/// For larger alignments: parking_lot aligns its table to cache lines.
#[cold]
fn aligned(layout: Layout) -> *mut u8 {
    let mut memory = std::ptr::null_mut();
    // SAFETY: the alignment is a power of two and more than a pointer's; on failure nothing is stored
    // that is looked at.
    match unsafe { libc::posix_memalign(&raw mut memory, layout.align(), layout.size()) } {
        0 => memory.cast(),
        _ => std::ptr::null_mut(),
    }
}

/// realloc does not preserve a larger alignment.
///
/// # Safety
/// As for [`GlobalAlloc::realloc`].
#[cold]
unsafe fn realigned(malloc: &Malloc, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise: `memory` is as `layout` says, and `size` with its alignment is a
    // layout too.
    unsafe {
        let new = malloc.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !new.is_null() {
            new.copy_from_nonoverlapping(memory, layout.size().min(size));
            malloc.dealloc(memory, layout);
        }
        new
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;
