//! Keys: that none occurs twice in an object.
//!
//! What enters: the tape. What leaves: nothing, or the refusal. Small objects are compared pair by pair,
//! large ones by a keyed hash and a sort, so that no choice of keys makes the work more than n log n.

use std::hash::{BuildHasher as _, RandomState};

use simd_json::Node;

use crate::refusal::RefusalCode;

/// Largest object whose keys are compared pair by pair.
const PAIRWISE: usize = 16;

/// Scratch for the keys of one object; reused.
#[derive(Default)]
pub(crate) struct KeyCheck {
    hashed: Vec<(u64, u32)>,
    state: RandomState,
}

impl KeyCheck {
    /// Looks at every object of the tape.
    pub(crate) fn unique(&mut self, nodes: &[Node<'_>]) -> Result<(), RefusalCode> {
        for (at, node) in nodes.iter().enumerate() {
            if let Node::Object { len, count } = *node
                && len > 1
            {
                let start = at.saturating_add(1);
                let body = nodes
                    .get(start..start.saturating_add(count))
                    .unwrap_or_default();
                let unique = if len <= PAIRWISE {
                    few(body)
                } else {
                    self.many(body)
                };
                if !unique {
                    return Err(RefusalCode::DuplicateKey);
                }
            }
        }
        Ok(())
    }

    /// Memory held, in entries.
    pub(crate) fn capacity(&self) -> usize {
        self.hashed.capacity()
    }

    fn many(&mut self, body: &[Node<'_>]) -> bool {
        self.hashed.clear();
        for (place, key) in Keys::new(body) {
            let Ok(place) = u32::try_from(place) else {
                return false;
            };
            self.hashed.push((self.state.hash_one(key), place));
        }
        self.hashed.sort_unstable();
        self.hashed.chunk_by(|a, b| a.0 == b.0).all(|same| {
            // With a keyed hash, keys that share one are equal but for chance.
            let key = |entry: &(u64, u32)| body.get(entry.1 as usize).and_then(string);
            same.iter().enumerate().all(|(i, a)| {
                same.iter()
                    .skip(i.saturating_add(1))
                    .all(|b| key(a) != key(b))
            })
        })
    }
}

fn few(body: &[Node<'_>]) -> bool {
    let mut seen = [(0, ""); PAIRWISE];
    for (n, (_, key)) in Keys::new(body).enumerate() {
        let key = (print(key), key);
        if seen.iter().take(n).any(|other| *other == key) {
            return false;
        }
        let Some(place) = seen.get_mut(n) else {
            return false;
        };
        *place = key;
    }
    true
}

/// Differs for most keys that differ, so that they need not be compared byte by byte.
fn print(key: &str) -> u64 {
    let (first, last) = match key.as_bytes() {
        [] => (0, 0),
        [only] => (*only, *only),
        [first, .., last] => (*first, *last),
    };
    (key.len() as u64) << 16 | u64::from(first) << 8 | u64::from(last)
}

fn string<'a>(node: &Node<'a>) -> Option<&'a str> {
    match node {
        Node::String(text) => Some(text),
        _ => None,
    }
}

/// The keys of one object's body with their places, stepping over the values.
struct Keys<'n, 'a> {
    body: &'n [Node<'a>],
    at: usize,
}

impl<'n, 'a> Keys<'n, 'a> {
    const fn new(body: &'n [Node<'a>]) -> Self {
        Self { body, at: 0 }
    }
}

impl<'a> Iterator for Keys<'_, 'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.at;
        let key = string(self.body.get(place)?)?;
        let value = place.saturating_add(1);
        self.at = value.saturating_add(width(self.body.get(value)?));
        Some((place, key))
    }
}

/// How many places of the tape a value takes, itself included.
pub(crate) const fn width(node: &Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count.saturating_add(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique(json: &str) -> bool {
        let mut bytes = json.as_bytes().to_vec();
        let tape = simd_json::to_tape(&mut bytes).unwrap();
        KeyCheck::default().unique(&tape.0).is_ok()
    }

    #[test]
    fn duplicates_are_found_at_any_depth_and_size() {
        assert!(unique(r#"{"a":{"a":[{"a":1},{"a":2}]},"b":1}"#));
        assert!(!unique(r#"[{"x":[{"a":1,"b":2,"\u0061":3}]}]"#));
        for n in [2_usize, 15, 16, 17, 18, 5000] {
            let mut members: Vec<String> =
                (0..n).map(|i| format!("\"k{i}\":{{\"k0\":[]}}")).collect();
            assert!(unique(&format!("{{{}}}", members.join(","))));
            members.push(format!("\"k{}\":0", n / 2));
            assert!(!unique(&format!("{{{}}}", members.join(","))));
        }
    }
}
