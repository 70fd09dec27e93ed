//! Replacing spans of a frame.
//!
//! What enters: a frame and a list of edits. What leaves: the frame's bytes with those spans replaced.
//! It never re-serialises: a byte outside the edits leaves as it came.

use std::borrow::Cow;

use mcpf_model::Span;

/// One span of a frame and the bytes that stand in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes replaced.
    pub span: Span,
    /// What replaces them; empty removes them.
    pub with: Cow<'static, str>,
}

/// Appends `frame` with `edits` made to `out`.
///
/// The edits are in order and disjoint, as [`Message::edits`](crate::Message::edits) and [`merge`] give
/// them. Should two overlap all the same, the bytes of both spans are gone and both replacements stand.
pub fn apply(frame: &[u8], edits: &[Edit], out: &mut Vec<u8>) {
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    out.reserve(frame.len().saturating_add(added));
    let mut kept = 0;
    for Edit { span, with } in edits {
        let range = span.range();
        out.extend_from_slice(frame.get(kept..range.start).unwrap_or_default());
        out.extend_from_slice(with.as_bytes());
        kept = kept.max(range.end);
    }
    out.extend_from_slice(frame.get(kept..).unwrap_or_default());
}

/// Puts the edits of a parsed message and `redactions` made to it into `out`, in order and disjoint.
///
/// Both lists are in order. Where the two overlap the redaction stands: losing a canonical spelling is
/// harmless, losing a redaction is not. `out` is cleared first.
pub fn merge(canonical: &[Edit], redactions: &[Edit], out: &mut Vec<Edit>) {
    out.clear();
    out.reserve(canonical.len().saturating_add(redactions.len()));
    let mut rest = redactions.iter().peekable();
    for edit in canonical {
        while let Some(next) = rest.next_if(|r| r.span.end <= edit.span.start) {
            out.push(next.clone());
        }
        let clash = rest.peek().is_some_and(|r| r.span.start < edit.span.end);
        if !clash {
            out.push(edit.clone());
        }
    }
    out.extend(rest.cloned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(start: u32, end: u32, with: &'static str) -> Edit {
        Edit {
            span: Span { start, end },
            with: Cow::Borrowed(with),
        }
    }

    fn applied(frame: &str, edits: &[Edit]) -> String {
        let mut out = Vec::new();
        apply(frame.as_bytes(), edits, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spans_are_replaced_and_the_rest_is_kept() {
        assert_eq!(applied("abcdef", &[]), "abcdef");
        assert_eq!(
            applied(
                "abcdef",
                &[edit(0, 1, "XY"), edit(3, 4, ""), edit(6, 6, "!")]
            ),
            "XYbcef!"
        );
    }

    #[test]
    fn overlapping_or_foreign_spans_never_bring_bytes_back() {
        assert_eq!(
            applied("abcdef", &[edit(1, 4, "1"), edit(2, 3, "2")]),
            "a12ef"
        );
        assert_eq!(applied("abc", &[edit(1, 9, "x")]), "ax");
    }

    #[test]
    fn a_redaction_wins_over_a_canonical_spelling() {
        let mut out = Vec::new();
        let canonical = [edit(0, 1, "a"), edit(4, 8, "b"), edit(9, 10, "c")];
        merge(
            &canonical,
            &[edit(2, 3, "r"), edit(5, 6, "s"), edit(12, 13, "t")],
            &mut out,
        );
        assert_eq!(
            out,
            [
                edit(0, 1, "a"),
                edit(2, 3, "r"),
                edit(5, 6, "s"),
                edit(9, 10, "c"),
                edit(12, 13, "t")
            ]
        );
    }
}
