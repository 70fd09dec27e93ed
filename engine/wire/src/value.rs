//! Cursors over a parsed frame.
//!
//! What enters: the tape and the marks. What leaves: values, members and strings, each with the bytes it
//! stands on. It never copies text: decoded strings borrow from the parser, source text from the frame.

use std::ops::Range;

use mcpf_model::Span;
use simd_json::{Node, StaticNode};

use crate::keys::width;
use crate::marks::Mark;

/// A parsed frame.
pub(crate) struct Doc<'a> {
    pub(crate) frame: &'a [u8],
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) marks: &'a [Mark],
}

impl<'a> Doc<'a> {
    pub(crate) fn node(&self, at: usize) -> Option<&Node<'a>> {
        self.nodes.get(at)
    }

    pub(crate) fn mark(&self, at: usize) -> Option<Mark> {
        self.marks.get(at).copied()
    }

    pub(crate) fn str_at(&self, at: usize) -> Option<&'a str> {
        match self.node(at)? {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn span_at(&self, at: usize) -> Span {
        self.mark(at).map_or(Span { start: 0, end: 0 }, Mark::span)
    }

    pub(crate) fn source_at(&self, at: usize) -> &'a [u8] {
        self.frame.get(self.span_at(at).range()).unwrap_or_default()
    }

    /// Whether the string at `at` is spelled with escapes: each of them is longer than what it stands for.
    pub(crate) fn is_escaped(&self, at: usize) -> bool {
        let spelled = self.mark(at).map_or(0, |mark| mark.inside().range().len());
        self.str_at(at).is_some_and(|text| text.len() != spelled)
    }

    pub(crate) fn value(&self, at: usize) -> Value<'_> {
        Value { doc: self, at }
    }

    /// The decoded keys among these places.
    pub(crate) fn keys(&self, places: Range<usize>) -> impl Iterator<Item = &'a str> {
        let nodes = self.nodes.get(places.clone()).unwrap_or_default();
        let marks = self.marks.get(places).unwrap_or_default();
        nodes
            .iter()
            .zip(marks)
            .filter(|(_, mark)| mark.is_key)
            .filter_map(|(node, _)| match node {
                Node::String(text) => Some(*text),
                _ => None,
            })
    }

    /// The places of a value and all in it.
    pub(crate) fn extent(&self, at: usize) -> Range<usize> {
        at..at.saturating_add(self.node(at).map_or(0, width))
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number, of any size.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value of a parsed message: a place in it, cheap to copy.
#[derive(Clone, Copy)]
pub struct Value<'m> {
    doc: &'m Doc<'m>,
    at: usize,
}

impl<'m> Value<'m> {
    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.doc.node(self.at) {
            Some(Node::String(_)) => Kind::String,
            Some(Node::Object { .. }) => Kind::Object,
            Some(Node::Array { .. }) => Kind::Array,
            Some(Node::Static(StaticNode::Bool(_))) => Kind::Bool,
            Some(Node::Static(StaticNode::Null)) | None => Kind::Null,
            Some(Node::Static(_)) => Kind::Number,
        }
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.kind() == Kind::Array
    }

    /// The bytes of the frame it stands on, quotes and brackets included.
    #[must_use]
    pub fn span(self) -> Span {
        self.doc.span_at(self.at)
    }

    /// Those bytes as they came.
    #[must_use]
    pub fn source(self) -> &'m [u8] {
        self.doc.source_at(self.at)
    }

    /// The text of a string, decoded.
    #[must_use]
    pub fn as_str(self) -> Option<&'m str> {
        self.doc.str_at(self.at)
    }

    /// The bytes between the quotes of a string.
    #[must_use]
    pub fn raw(self) -> Option<Span> {
        self.as_str()?;
        self.doc.mark(self.at).map(Mark::inside)
    }

    /// The text of a number as it was spelled, exact whatever its size.
    #[must_use]
    pub fn as_number(self) -> Option<&'m str> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.source()).ok()
    }

    /// A number that is a plainly written integer within ±(2^53-1).
    #[must_use]
    pub fn as_integer(self) -> Option<i64> {
        crate::text::plain_integer(self.as_number()?.as_bytes())
    }

    /// A truth value.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.doc.node(self.at)? {
            Node::Static(StaticNode::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// How many members or elements it has; 0 for anything else.
    #[must_use]
    pub fn len(self) -> usize {
        match self.doc.node(self.at) {
            Some(Node::Object { len, .. } | Node::Array { len, .. }) => *len,
            _ => 0,
        }
    }

    /// Whether it has no members or elements.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The member called `key`, if it is an object that has one. Linear in the number of members.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Value<'m>> {
        self.members()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// The members of an object with their decoded keys, in frame order; nothing for anything else.
    #[must_use]
    pub fn members(self) -> Members<'m> {
        let inside = if self.is_object() {
            self.inside()
        } else {
            0..0
        };
        Members {
            doc: self.doc,
            rest: inside,
        }
    }

    /// The elements of an array, in frame order; nothing for anything else.
    #[must_use]
    pub fn elements(self) -> Elements<'m> {
        let inside = if self.is_array() { self.inside() } else { 0..0 };
        Elements {
            doc: self.doc,
            rest: inside,
        }
    }

    pub(crate) fn place(self) -> usize {
        self.at
    }

    fn inside(self) -> Range<usize> {
        let extent = self.doc.extent(self.at);
        extent.start.saturating_add(1)..extent.end
    }
}

impl std::fmt::Debug for Value<'_> {
    /// Kind and place only: values may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Value")
            .field("kind", &self.kind())
            .field("span", &self.span())
            .finish()
    }
}

/// The members of an object. See [`Value::members`].
#[derive(Clone)]
pub struct Members<'m> {
    doc: &'m Doc<'m>,
    rest: Range<usize>,
}

impl<'m> Members<'m> {
    /// The next member, with the place of its key.
    pub(crate) fn next_place(&mut self) -> Option<(usize, Value<'m>)> {
        let key = self.rest.next()?;
        let at = self.rest.start;
        self.rest.start = self.doc.extent(at).end.max(at.saturating_add(1));
        Some((key, Value { doc: self.doc, at }))
    }
}

impl<'m> Iterator for Members<'m> {
    type Item = (&'m str, Value<'m>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.next_place()?;
        Some((self.doc.str_at(key)?, value))
    }
}

/// The elements of an array. See [`Value::elements`].
#[derive(Clone)]
pub struct Elements<'m> {
    doc: &'m Doc<'m>,
    rest: Range<usize>,
}

impl<'m> Iterator for Elements<'m> {
    type Item = Value<'m>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.rest.start;
        self.rest.start = self.doc.extent(at).end.max(at.saturating_add(1));
        Some(Value { doc: self.doc, at })
    }
}

/// The part of a message a string stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `jsonrpc`, `id`, `method`, and the top-level keys.
    Envelope,
    /// In `params`, but not in `params.arguments`.
    Params,
    /// In `params.arguments`.
    Arguments,
    /// In `result`.
    Result,
    /// In `error`.
    Error,
}

/// One string of a message, key or value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StringLeaf<'m> {
    /// The decoded text.
    pub text: &'m str,
    /// The bytes between the quotes in the frame.
    pub raw: Span,
    /// Whether it is the key of a member.
    pub is_key: bool,
    /// Where in the message it stands.
    pub place: Place,
}

impl std::fmt::Debug for StringLeaf<'_> {
    /// Place only: the text may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StringLeaf")
            .field("raw", &self.raw)
            .field("is_key", &self.is_key)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Where each part of the message lies on the tape.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) params: Range<usize>,
    pub(crate) arguments: Range<usize>,
    pub(crate) result: Range<usize>,
    pub(crate) error: Range<usize>,
}

impl Parts {
    fn place(&self, at: usize) -> Place {
        if self.arguments.contains(&at) {
            Place::Arguments
        } else if self.params.contains(&at) {
            Place::Params
        } else if self.result.contains(&at) {
            Place::Result
        } else if self.error.contains(&at) {
            Place::Error
        } else {
            Place::Envelope
        }
    }
}

/// Strings of a message in frame order. See [`Message::strings`](crate::Message::strings).
#[derive(Clone)]
pub struct Strings<'m> {
    pub(crate) doc: &'m Doc<'m>,
    pub(crate) parts: &'m Parts,
    pub(crate) rest: Range<usize>,
}

impl<'m> Iterator for Strings<'m> {
    type Item = StringLeaf<'m>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.rest.next()?;
            if let (Some(Node::String(text)), Some(mark)) = (self.doc.node(at), self.doc.mark(at)) {
                return Some(StringLeaf {
                    text,
                    raw: mark.inside(),
                    is_key: mark.is_key,
                    place: self.parts.place(at),
                });
            }
        }
    }
}
