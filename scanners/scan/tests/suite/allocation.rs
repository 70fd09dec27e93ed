//! The clean path allocates nothing once it is warm.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mcpf_model::{Limits, Surface};

use crate::Frame;
use crate::rules::engine;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[expect(
    unsafe_code,
    reason = "counting allocations takes an allocator; it only forwards"
)]
// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one scan of `texts`, warm, and how much it found.
fn measure(texts: &[&str]) -> (usize, usize) {
    let frame = Frame::new(texts);
    let mut scratch = engine().new_scratch().unwrap();
    let mut findings = Vec::new();
    let limits = Limits::default();
    let mut scan = || {
        let texts = frame.texts(Surface::Arguments);
        engine()
            .scan(
                frame.json.as_bytes(),
                texts,
                &limits,
                &mut scratch,
                &mut findings,
            )
            .unwrap();
    };
    scan();
    scan();
    let before = COUNT.with(Cell::get);
    scan();
    let after = COUNT.with(Cell::get);
    (after - before, findings.len())
}

#[test]
fn clean_text_allocates_nothing() {
    let prose =
        "A plain sentence about the weather, with a number (42) and a path /usr/lib. ".repeat(40);
    assert_eq!(measure(&["name", "read_file", &prose]), (0, 0));
}

#[test]
fn nor_do_views_of_clean_text() {
    let text = "Où est passé le café ? 50%25 &amp; plus, ｗｉｄｅ, \u{200b}привет, 中文";
    assert_eq!(measure(&[text]), (0, 0));
}

#[test]
fn nor_do_findings_of_a_plain_pattern() {
    assert_eq!(measure(&["AKIAQ3EGRZ7TWBN5XK2P"]), (0, 1));
}
