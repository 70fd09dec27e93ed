//! Small random patterns, members of them, and near-members.

use std::fmt::Write as _;

use crate::pattern::Flags;

/// Where random choices come from: a seed, or a fuzzer's bytes (zeros once they run out).
#[derive(Debug)]
pub struct Entropy<'a> {
    state: u64,
    bytes: Option<&'a [u8]>,
}

impl Entropy<'static> {
    /// Choices that depend on `seed` only.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self {
            state: seed,
            bytes: None,
        }
    }
}

impl<'a> Entropy<'a> {
    /// Choices read from `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self {
            state: 0,
            bytes: Some(bytes),
        }
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next(bound) % bound).unwrap_or(0)
    }

    /// True `numerator` times in `denominator`. Zeros give `false`.
    pub fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.below(denominator) + numerator >= denominator
    }

    fn pick<T: Copy>(&mut self, from: &[T], default: T) -> T {
        from.get(self.below(from.len())).copied().unwrap_or(default)
    }

    fn next(&mut self, bound: u64) -> u64 {
        if let Some(bytes) = &mut self.bytes {
            let width = if bound <= 256 { 1 } else { 2 };
            let (head, tail) = bytes.split_at_checked(width).unwrap_or((bytes, &[]));
            *bytes = tail;
            return head.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        }
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

/// A pattern as a tree. End anchors are absent on purpose.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Literal(Vec<u8>),
    Class(Class),
    Concat(Vec<Node>),
    Alternation(Vec<Node>),
    Repeat {
        node: Box<Node>,
        least: usize,
        most: usize,
    },
    Boundary,
}

/// A byte class: how it is written, and some of its members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    text: &'static str,
    members: &'static [u8],
}

const CLASSES: [Class; 13] = [
    Class {
        text: "[ab]",
        members: b"ab",
    },
    Class {
        text: "[a-f]",
        members: b"abcdef",
    },
    Class {
        text: "[a-z]",
        members: b"abcxyz",
    },
    Class {
        text: "[0-9]",
        members: b"0129",
    },
    Class {
        text: r"\d",
        members: b"0129",
    },
    Class {
        text: "[0-9A-Fa-f]",
        members: b"09AFaf",
    },
    Class {
        text: "[0-9A-Za-z_-]",
        members: b"0Zaz_-",
    },
    Class {
        text: r"\w",
        members: b"aZ0_",
    },
    Class {
        text: r"\s",
        members: b" \n\t\r\x0b\x0c",
    },
    Class {
        text: "[^a]",
        members: b"bc0 \n\xff\x00",
    },
    Class {
        text: r"[^\s,]",
        members: b"abA0-\xfe",
    },
    Class {
        text: r"[\x80-\xff]",
        members: b"\x80\xc3\xff",
    },
    Class {
        text: ".",
        members: b"abA0 -\xff",
    },
];

/// Bytes that texts and literals are made of: few, so that chance hits are many.
const ALPHABET: &[u8] = b"aaabbbccAB01_- \nxyz/=.\x00\xff";

/// A byte of noise.
pub(super) fn byte(entropy: &mut Entropy<'_>) -> u8 {
    entropy.pick(ALPHABET, b'a')
}

/// A literal of 1 to 24 bytes, mostly short.
pub(super) fn literal(entropy: &mut Entropy<'_>) -> Vec<u8> {
    let length = match entropy.below(8) {
        0..=3 => 2 + entropy.below(4),
        4 => 1,
        5..=6 => 5 + entropy.below(6),
        _ => 9 + entropy.below(16),
    };
    (0..length).map(|_| byte(entropy)).collect()
}

/// A whole pattern.
pub(super) fn pattern(entropy: &mut Entropy<'_>) -> Node {
    let mut parts = Vec::new();
    if entropy.chance(1, 6) {
        parts.push(Node::Boundary);
    }
    for _ in 0..=entropy.below(3) {
        parts.push(node(entropy, 2));
    }
    if entropy.chance(1, 6) {
        parts.push(Node::Boundary);
    }
    Node::Concat(parts)
}

fn node(entropy: &mut Entropy<'_>, depth: usize) -> Node {
    match entropy.below(if depth == 0 { 5 } else { 10 }) {
        0..=2 => Node::Literal(literal(entropy)),
        3..=4 => {
            let [first, ..] = CLASSES;
            Node::Class(entropy.pick(&CLASSES, first))
        }
        5 => Node::Concat(branches(entropy, depth)),
        6 => Node::Alternation(branches(entropy, depth)),
        7 if entropy.chance(1, 4) => Node::Boundary,
        _ => {
            let least = entropy.below(4);
            let room = if entropy.chance(1, 8) { 40 } else { 6 };
            let most = (least + entropy.below(room)).max(1);
            Node::Repeat {
                node: Box::new(node(entropy, depth - 1)),
                least,
                most,
            }
        }
    }
}

fn branches(entropy: &mut Entropy<'_>, depth: usize) -> Vec<Node> {
    (0..2 + entropy.below(2))
        .map(|_| node(entropy, depth - 1))
        .collect()
}

impl Node {
    /// The expression both engines read.
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        self.render_to(&mut out);
        out
    }

    fn render_to(&self, out: &mut String) {
        match self {
            Self::Literal(bytes) => {
                for byte in bytes {
                    if byte.is_ascii_alphanumeric() {
                        out.push(char::from(*byte));
                    } else {
                        // Writing to a string does not fail.
                        let _ = write!(out, "\\x{byte:02x}");
                    }
                }
            }
            Self::Class(class) => out.push_str(class.text),
            Self::Concat(nodes) => nodes.iter().for_each(|node| node.render_to(out)),
            Self::Alternation(nodes) => {
                out.push_str("(?:");
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        out.push('|');
                    }
                    node.render_to(out);
                }
                out.push(')');
            }
            Self::Repeat { node, least, most } => {
                out.push_str("(?:");
                node.render_to(out);
                let _ = write!(out, "){{{least},{most}}}");
            }
            Self::Boundary => out.push_str(r"\b"),
        }
    }

    /// Shortest and longest match, in bytes.
    fn widths(&self) -> (usize, usize) {
        let sum = |nodes: &[Self]| {
            nodes
                .iter()
                .map(Self::widths)
                .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
        };
        match self {
            Self::Literal(bytes) => (bytes.len(), bytes.len()),
            Self::Class(_) => (1, 1),
            Self::Concat(nodes) => sum(nodes),
            Self::Alternation(nodes) => nodes
                .iter()
                .map(Self::widths)
                .reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
                .unwrap_or((0, 0)),
            Self::Repeat { node, least, most } => {
                let (shortest, longest) = node.widths();
                (shortest * least, longest * most)
            }
            Self::Boundary => (0, 0),
        }
    }

    /// Whether a miss of this pattern can be the known defect: some part of it
    /// may be one byte, or more than that, in a pattern of more than 16 bytes.
    pub(super) fn may_be_known_defect(&self) -> bool {
        self.widths().1 > 16 && self.has_short_choice()
    }

    fn has_short_choice(&self) -> bool {
        let (shortest, longest) = self.widths();
        match self {
            Self::Literal(_) | Self::Class(_) | Self::Boundary => false,
            Self::Concat(nodes) => nodes.iter().any(Self::has_short_choice),
            Self::Alternation(nodes) => {
                (shortest <= 1 && longest > 1) || nodes.iter().any(Self::has_short_choice)
            }
            Self::Repeat { node, .. } => (shortest <= 1 && longest > 1) || node.has_short_choice(),
        }
    }

    /// Appends a string the pattern matches, but for its `\b`s.
    pub(super) fn member(&self, entropy: &mut Entropy<'_>, flags: Flags, out: &mut Vec<u8>) {
        match self {
            Self::Literal(bytes) => out.extend(bytes.iter().map(|byte| {
                let flip = flags.contains(Flags::CASELESS)
                    && byte.is_ascii_alphabetic()
                    && entropy.chance(1, 2);
                if flip { byte ^ 0x20 } else { *byte }
            })),
            Self::Class(class) => out.push(entropy.pick(class.members, b'a')),
            Self::Concat(nodes) => nodes
                .iter()
                .for_each(|node| node.member(entropy, flags, out)),
            Self::Alternation(nodes) => {
                if let Some(node) = nodes.get(entropy.below(nodes.len())) {
                    node.member(entropy, flags, out);
                }
            }
            Self::Repeat { node, least, most } => {
                for _ in 0..least + entropy.below(most - least + 1) {
                    node.member(entropy, flags, out);
                }
            }
            Self::Boundary => {}
        }
    }
}

/// Changes, drops or adds one byte, or cuts the member short.
pub(super) fn damage(entropy: &mut Entropy<'_>, member: &mut Vec<u8>) {
    if member.is_empty() {
        return;
    }
    let at = entropy.below(member.len());
    match entropy.below(4) {
        0 => {
            if let Some(place) = member.get_mut(at) {
                *place = byte(entropy);
            }
        }
        1 => {
            member.remove(at);
        }
        2 => member.insert(at, byte(entropy)),
        _ => member.truncate(at),
    }
}
