//! Spellings that readers disagree on, and the ones they agree on.
//!
//! What enters: a frame that is valid JSON. What leaves: edits. It never touches what a string means.

use std::borrow::Cow;

use mcpf_model::Span;
use memchr::memmem::Finder;

use crate::edit::Edit;
use crate::refusal::RefusalCode;
use crate::text::is_space;

/// Most edits one frame may need. 3 MiB of them at worst.
pub(crate) const MAX_EDITS: usize = 65_536;

/// Line breaks between tokens become a space: a carriage return ends a line for some readers, and a line feed
/// for all of them. JSON allows neither inside a string. Runs of whitespace around one go as a whole.
pub(crate) fn line_breaks(frame: &[u8], edits: &mut Vec<Edit>) -> Result<(), RefusalCode> {
    let mut done = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', frame) {
        if at < done {
            continue;
        }
        let before = frame.get(done..at).unwrap_or_default();
        let after = frame.get(at..).unwrap_or_default();
        let start = at.saturating_sub(before.iter().rev().take_while(|b| is_space(**b)).count());
        let end = at.saturating_add(after.iter().take_while(|b| is_space(**b)).count());
        push(edits, start, end, Cow::Borrowed(" "))?;
        done = end;
    }
    Ok(())
}

/// Finds line separators beyond ASCII. Built once a parser.
pub(crate) struct Separators([(Finder<'static>, &'static str); 3]);

impl Separators {
    pub(crate) fn new() -> Self {
        Self([
            (Finder::new(b"\xc2\x85"), "\\u0085"),
            (Finder::new(b"\xe2\x80\xa8"), "\\u2028"),
            (Finder::new(b"\xe2\x80\xa9"), "\\u2029"),
        ])
    }

    /// Line separators beyond ASCII, which can only stand in strings, become escapes.
    pub(crate) fn escape(&self, frame: &[u8], edits: &mut Vec<Edit>) -> Result<(), RefusalCode> {
        if frame.is_ascii() {
            return Ok(());
        }
        for (finder, with) in &self.0 {
            for at in finder.find_iter(frame) {
                push(
                    edits,
                    at,
                    at.saturating_add(finder.needle().len()),
                    Cow::Borrowed(with),
                )?;
            }
        }
        Ok(())
    }
}

/// Puts the edits in order, and drops those that lie in a member which is removed.
pub(crate) fn settle(edits: &mut Vec<Edit>) {
    if edits.len() < 2 {
        return;
    }
    // A removal comes before what starts at the same place, and swallows what it covers.
    edits.sort_by_key(|edit| (edit.span.start, std::cmp::Reverse(edit.span.end)));
    let mut covered = 0;
    edits.retain(|edit| {
        let keep = edit.span.end > covered;
        covered = covered.max(edit.span.end);
        keep
    });
}

fn push(
    edits: &mut Vec<Edit>,
    start: usize,
    end: usize,
    with: Cow<'static, str>,
) -> Result<(), RefusalCode> {
    let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
        return Err(RefusalCode::TooLarge);
    };
    if edits.len() >= MAX_EDITS {
        return Err(RefusalCode::TooManyEdits);
    }
    edits.push(Edit {
        span: Span { start, end },
        with,
    });
    Ok(())
}
