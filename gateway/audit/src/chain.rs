//! The chain: gives each record its number, its hash and, where one is due, a signature.
//!
//! Bodies enter, finished lines leave. The last 9 + 64 + 10 + 64 bytes of every record are
//! `,"prev":"…","hash":"…"`, with hash = SHA-256(previous hash, body), both as raw bytes; a signed
//! record goes on with `,"sig":"…"`, the Ed25519 signature over the 32 bytes of its hash. It covers
//! every record before it, since each hash holds the one before.

use crate::bytes::{push_base64, push_hex};
use crate::encode::Place;
use crate::{Sign, SigningKey};
use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 value.
pub(crate) type Hash = [u8; 32];

/// The first record's previous hash, where there is no earlier file.
pub(crate) const GENESIS: Hash = [0; 32];

/// Where a file's chain has got to.
pub(crate) struct Chain {
    key: SigningKey,
    sign: Sign,
    next: Place,
    head: Hash,
    /// Whether the last record in the buffer still lacks its end.
    open: bool,
}

impl Chain {
    /// A chain whose next record stands at `next` and follows a record with the hash `head`.
    pub(crate) const fn new(key: SigningKey, sign: Sign, next: Place, head: Hash) -> Self {
        Self {
            key,
            sign,
            next,
            head,
            open: false,
        }
    }

    /// The number of the next record.
    pub(crate) const fn next_seq(&self) -> u64 {
        self.next.seq
    }

    /// Whether each record has a signature of its own.
    pub(crate) fn signs_every(&self) -> bool {
        self.sign == Sign::Every
    }

    /// The last record's hash.
    pub(crate) const fn head(&self) -> Hash {
        self.head
    }

    /// Appends a record to `out`. `out` must hold the chain's unfinished group and nothing else.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>, Place)) {
        if self.open {
            out.extend_from_slice(b"}\n");
        }
        let start = out.len();
        body(out, self.next);
        let hash = hash(&self.head, out.get(start..).unwrap_or_default());
        out.extend_from_slice(b",\"prev\":\"");
        push_hex(out, &self.head);
        out.extend_from_slice(b"\",\"hash\":\"");
        push_hex(out, &hash);
        out.push(b'"');
        self.head = hash;
        self.next.seq += 1;
        self.open = true;
        if self.sign == Sign::Every {
            self.seal(out);
        }
    }

    /// Ends the last record in `out` without a signature: its group goes on.
    pub(crate) fn pause(&mut self, out: &mut Vec<u8>) {
        if self.open {
            out.extend_from_slice(b"}\n");
            self.open = false;
        }
    }

    /// Signs the group in `out`, which is then whole.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>) {
        if !self.open {
            return;
        }
        out.extend_from_slice(b",\"sig\":\"");
        push_base64(out, &self.key.sign(&self.head));
        out.extend_from_slice(b"\"}\n");
        self.open = false;
        self.next.group += 1;
    }
}

/// The hash of a record.
pub(crate) fn hash(prev: &Hash, body: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(prev);
    context.update(body);
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}
