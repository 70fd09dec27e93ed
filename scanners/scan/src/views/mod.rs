//! Other readings of a text: normalised and decoded.
//!
//! Enters: the joined texts. Leaves: derived segments appended to the same buffer. It never
//! replaces a text: the plain reading is always scanned too. Work and memory are bounded by the
//! view budget; what did not fit is said, not hidden.

pub(crate) mod base64;
mod decode;
mod fold;
mod inline;
mod normalise;

pub(crate) use fold::warm_up;

use crate::joined::{Derivable, Joined, Kind, Made};

/// How many decodings are undone, one inside the other.
const MAX_DEPTH: u8 = 2;

/// Bytes of views allowed to any message, on top of the factor: 4 KiB.
pub(crate) const VIEW_FLOOR: usize = 4 * 1024;

/// Buffers reused from text to text.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    source: Vec<u8>,
    decoded: Vec<u8>,
    cluster: String,
}

/// Which derivations `text` could need. One or two cheap passes; says yes too often, never no.
pub(crate) fn examine(text: &[u8]) -> Derivable {
    Derivable {
        normalised: normalise::may_differ(text),
        decoded: decode::may_hold(text),
    }
}

/// Builds every derived view. `joined.end_texts` was called.
pub(crate) fn build(joined: &mut Joined, work: &mut Workspace) {
    let mut ix = 0;
    // Views are appended while this walks: each is looked at in turn.
    while let Some(segment) = joined.segments.get(ix).copied() {
        let index = crate::joined::offset(ix);
        ix += 1;
        if !segment.derivable.any() {
            continue;
        }
        work.source.clear();
        work.source.extend_from_slice(joined.bytes(&segment));
        // A normalised view that differs is decoded in its parent's stead: it says all that its
        // parent says.
        let replaced =
            segment.derivable.normalised && !segment.normal && normalised(joined, index, work);
        if segment.derivable.decoded && segment.depth < MAX_DEPTH && !replaced {
            decode::decode(joined, index, work);
        }
    }
    work.source.shrink_to(1 << 20);
    work.decoded.shrink_to(1 << 20);
}

/// Normalises; returns whether a view that differs was made.
fn normalised(joined: &mut Joined, index: u32, work: &mut Workspace) -> bool {
    let made = Made {
        kind: Kind::Normalised,
        examine: |text| Derivable {
            normalised: false,
            decoded: decode::may_hold(text),
        },
    };
    let before = joined.segments.len();
    let mut writer = joined.derive(index);
    let seen = normalise::normalise(
        &work.source,
        normalise::Folding::Off,
        &mut work.cluster,
        &mut writer,
    );
    let base = writer.finish(&work.source, made);
    if seen.look_alikes {
        let mut writer = joined.derive(index);
        normalise::normalise(
            &work.source,
            normalise::Folding::On,
            &mut work.cluster,
            &mut writer,
        );
        let folded = Made {
            // Folded text reads like the base where encodings are concerned.
            examine: if base.is_some() {
                |_| Derivable::default()
            } else {
                made.examine
            },
            ..made
        };
        writer.finish(&work.source, folded);
    }
    if seen.tags {
        let mut writer = joined.derive(index);
        normalise::hidden_tags(&work.source, &mut writer);
        writer.finish(&work.source, made);
    }
    joined.segments.len() > before && base.is_some()
}
