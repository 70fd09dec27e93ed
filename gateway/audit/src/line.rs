//! Reads one record line: the strict grammar of its tail, and the few members that make the chain.
//!
//! Bytes of one line enter; what they claim leaves. Nothing is checked here against a key or a
//! neighbour, and the body is not judged: its hash does that.

use crate::bytes::{HASH_TEXT, SIGNATURE_TEXT, unbase64_64, unhex32};
use serde::Deserialize;

const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const SIG: &[u8] = b",\"sig\":\"";

/// A line, split.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// What the hash covers, besides the previous hash.
    pub(crate) body: &'a [u8],
    pub(crate) prev: [u8; 32],
    pub(crate) hash: [u8; 32],
    pub(crate) signature: Option<[u8; 64]>,
}

/// Splits a line (without its line end), if it is spelt exactly as one is written.
pub(crate) fn split(line: &[u8]) -> Option<Line<'_>> {
    let rest = line.strip_suffix(b"}")?;
    let (rest, signature) = match rest.len().checked_sub(SIG.len() + SIGNATURE_TEXT + 1) {
        Some(at) if rest.get(at..)?.starts_with(SIG) => {
            let (rest, tail) = rest.split_at_checked(at)?;
            let text = tail.strip_prefix(SIG)?.strip_suffix(b"\"")?;
            (rest, Some(unbase64_64(text)?))
        }
        _ => (rest, None),
    };
    let (body, tail) = rest.split_at_checked(
        rest.len()
            .checked_sub(PREV.len() + HASH.len() + 2 * HASH_TEXT + 1)?,
    )?;
    let (prev, tail) = tail.strip_prefix(PREV)?.split_at_checked(HASH_TEXT)?;
    let hash = tail.strip_prefix(HASH)?.strip_suffix(b"\"")?;
    Some(Line {
        body,
        prev: unhex32(prev)?,
        hash: unhex32(hash)?,
        signature,
    })
}

/// The members of a record that the chain is made of.
#[derive(Debug, Deserialize)]
pub(crate) struct Fields<'a> {
    pub(crate) v: u64,
    pub(crate) seq: u64,
    pub(crate) group: u64,
    #[serde(rename = "type", borrow)]
    pub(crate) kind: &'a str,
    pub(crate) time: &'a str,
    pub(crate) decision: Option<&'a str>,
    pub(crate) public_key: Option<&'a str>,
    pub(crate) sign: Option<&'a str>,
    pub(crate) durability: Option<&'a str>,
    pub(crate) loss_window_ms: Option<u64>,
    pub(crate) continues: Option<ContinuesField>,
    pub(crate) unsigned: Option<u64>,
    pub(crate) torn_bytes: Option<u64>,
    pub(crate) decisions: Option<u64>,
}

/// A start record's word on the file before.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContinuesField {
    pub(crate) file: String,
    pub(crate) seq: u64,
    pub(crate) hash: String,
}

/// Reads the members of a line (with its tail, without its line end).
pub(crate) fn fields(line: &[u8]) -> Option<Fields<'_>> {
    serde_json::from_slice(line).ok()
}

/// Whether `bytes`, which no line end follows, are what a write that was cut short may leave: the
/// beginning of a record, whole or in part, perhaps followed by the zeros of a block that was
/// allotted and never filled.
pub(crate) fn is_torn(bytes: &[u8]) -> bool {
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let (start, zeros) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
    let opening = b"{\"v\":1,\"seq\":";
    let shared = start.len().min(opening.len());
    if start.get(..shared) != opening.get(..shared) {
        return false;
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(start) {
        Ok(_) => zeros.is_empty() && split(start).is_some(),
        Err(error) => error.is_eof(),
    }
}
