//! The slow twin of the framer: all bytes at once, split at every LF.

use mcpf_model::ByteSize;

use crate::LineFramer;

/// A line as it came out, or `None` where one was refused.
pub type Line = Option<Vec<u8>>;

/// Holds the framer to its twin: in one piece, byte by byte, and cut into pieces as long as
/// `cuts` says, a rest in one piece.
///
/// # Errors
///
/// What they disagree on.
pub fn check(bytes: &[u8], cuts: &[usize], limit: ByteSize) -> Result<(), String> {
    let slow = slow(bytes, limit);
    let ones = vec![1; bytes.len()];
    for (name, cuts) in [("whole", &[][..]), ("cut", cuts), ("bytes", &ones)] {
        super::same(name, &fast(bytes, cuts, limit), &slow)?;
    }
    Ok(())
}

/// What the framer makes of `bytes`, given to it in pieces.
#[must_use]
pub fn fast(bytes: &[u8], cuts: &[usize], limit: ByteSize) -> Vec<Line> {
    let mut framer = LineFramer::new(limit);
    let mut out = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        rest = later;
        framer.push(now);
        while let Some(next) = framer.next_frame() {
            out.push(next.ok().map(|range| framer.frame(range).to_vec()));
        }
    }
    out.extend(framer.finish().map(|_| None));
    out
}

/// The same, the plain way.
#[must_use]
pub fn slow(bytes: &[u8], limit: ByteSize) -> Vec<Line> {
    let blank = |line: &[u8]| line.iter().all(|b| b" \t\r".contains(b));
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let mut out = Vec::new();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit.bytes() {
            out.push(None);
        } else if !blank(line) {
            out.push(Some(line.to_vec()));
        }
    }
    if last.len() > limit.bytes().saturating_add(1) || !blank(last) {
        out.push(None);
    }
    out
}
