//! Where each node of the tape stands in the frame.
//!
//! What enters: the frame and the structural positions the parser found in it. What leaves: one [`Mark`] a
//! node, in frame order. It never guesses from decoded text: a node starts at its structural character and
//! ends before the next one, so that escapes and number spellings need no second look.

use mcpf_model::Span;

use crate::text::is_space;

/// Where a node stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// First byte: the quote, bracket, or first byte of the number or word.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
    /// Whether it is the key of a member.
    pub(crate) is_key: bool,
}

impl Mark {
    /// The whole node.
    pub(crate) const fn span(self) -> Span {
        Span {
            start: self.start,
            end: self.end,
        }
    }

    /// The bytes between the quotes of a string.
    pub(crate) const fn inside(self) -> Span {
        Span {
            start: self.start.saturating_add(1),
            end: self.end.saturating_sub(1),
        }
    }
}

/// Fills `marks` with one mark for each node of the tape that was built from `structurals`.
///
/// `open` is scratch. Returns `None` if the positions do not fit the frame, which a tape that was built from
/// them rules out.
pub(crate) fn locate(
    frame: &[u8],
    structurals: &[u32],
    marks: &mut Vec<Mark>,
    open: &mut Vec<u32>,
) -> Option<()> {
    marks.clear();
    open.clear();
    let mut in_scalar = false;
    for &at in structurals {
        let place = usize::try_from(at).ok()?;
        let byte = *frame.get(place)?;
        if in_scalar {
            let last = marks.last_mut()?;
            last.end = end_before(frame, at);
            last.is_key = byte == b':';
            in_scalar = false;
        }
        // In order of frequency; a jump table is slower.
        if matches!(byte, b',' | b':') {
            continue;
        }
        if matches!(byte, b'}' | b']') {
            let container = usize::try_from(open.pop()?).ok()?;
            marks.get_mut(container)?.end = at.checked_add(1)?;
            continue;
        }
        if matches!(byte, b'{' | b'[') {
            open.push(u32::try_from(marks.len()).ok()?);
        } else {
            in_scalar = true;
        }
        marks.push(Mark {
            start: at,
            end: at,
            is_key: false,
        });
    }
    if in_scalar {
        marks.last_mut()?.end = end_before(frame, u32::try_from(frame.len()).ok()?);
    }
    open.is_empty().then_some(())
}

/// The end of the token before `at`: the spaces between are walked once a frame.
fn end_before(frame: &[u8], at: u32) -> u32 {
    let mut end = at;
    while let Some(before) = end.checked_sub(1) {
        match frame.get(before as usize) {
            Some(byte) if is_space(*byte) => end = before,
            _ => break,
        }
    }
    end
}
