//! A message that was let in.
//!
//! What enters: a parsed frame and what its envelope says. What leaves: answers to what a stage may ask about
//! a message. It never changes it and never says whether it is welcome.

use mcpf_model::{MessageKind, RequestId, Span};
use simd_json::Tape;

use crate::edit::Edit;
use crate::envelope::Envelope;
use crate::value::{Doc, Kind, Strings, Value};

/// A request id that borrows from the message. `7` and `"7"` are different ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Id<'a> {
    /// A plainly written integer within ±(2^53-1).
    Number(i64),
    /// A string, decoded; at most `Limits::max_name` bytes, no control characters.
    String(&'a str),
}

impl Id<'_> {
    /// The id as a value that outlives the message.
    #[must_use]
    pub fn to_owned(&self) -> RequestId {
        match *self {
            Self::Number(n) => RequestId::Number(n),
            Self::String(s) => RequestId::String(s.into()),
        }
    }
}

impl PartialEq<RequestId> for Id<'_> {
    fn eq(&self, other: &RequestId) -> bool {
        match (self, other) {
            (Self::Number(a), RequestId::Number(b)) => a == b,
            (Self::String(a), RequestId::String(b)) => **a == **b,
            _ => false,
        }
    }
}

/// A JSON-RPC message with one meaning. Borrows the frame and the parser that read it.
///
/// When [`edits`](Self::edits) is empty the frame may be forwarded as it came; otherwise
/// [`apply`](crate::apply) them first.
pub struct Message<'a> {
    pub(crate) doc: Doc<'a>,
    pub(crate) envelope: Envelope,
    pub(crate) edits: &'a [Edit],
    /// Where the tape's storage goes back to.
    pub(crate) home: &'a mut Tape<'static>,
}

impl<'a> Message<'a> {
    /// The bytes it was read from.
    #[must_use]
    pub fn frame(&self) -> &'a [u8] {
        self.doc.frame
    }

    /// Request, notification, response or error.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.envelope.kind
    }

    /// The id: always there in a request or response, absent in a notification. An error may lack it, or have
    /// `null`, when its sender could not read the request.
    #[must_use]
    pub fn id(&self) -> Option<Id<'a>> {
        self.id_at(self.envelope.id?)
    }

    /// The bytes of the id in the frame, quotes included.
    #[must_use]
    pub fn id_span(&self) -> Option<Span> {
        self.envelope.id.map(|at| self.doc.span_at(at))
    }

    /// The method of a request or notification, decoded.
    #[must_use]
    pub fn method(&self) -> Option<&'a str> {
        self.doc.str_at(self.envelope.method?)
    }

    /// The parameters: an object, if there are any.
    #[must_use]
    pub fn params(&self) -> Option<Value<'_>> {
        self.envelope.params.map(|at| self.doc.value(at))
    }

    /// The result of a response: an object.
    #[must_use]
    pub fn result(&self) -> Option<Value<'_>> {
        self.envelope.result.map(|at| self.doc.value(at))
    }

    /// The error of a response: an object with an integer `code` and a string `message`.
    #[must_use]
    pub fn error(&self) -> Option<Value<'_>> {
        self.envelope.error.map(|at| self.doc.value(at))
    }

    /// The code of an error.
    #[must_use]
    pub fn error_code(&self) -> Option<i64> {
        self.error()?.get("code")?.as_integer()
    }

    /// The tool a `tools/call` calls; every such request has one.
    #[must_use]
    pub fn tool_name(&self) -> Option<&'a str> {
        self.param_of("tools/call", "name")
    }

    /// The prompt a `prompts/get` asks for, or a `completion/complete` is about.
    #[must_use]
    pub fn prompt_name(&self) -> Option<&'a str> {
        match self.method()? {
            "prompts/get" => self.param_of("prompts/get", "name"),
            "completion/complete" => self.text(self.params()?.get("ref")?.get("name")?),
            _ => None,
        }
    }

    /// The resource a message is about: `params.uri`, or what a `completion/complete` refers to.
    #[must_use]
    pub fn resource_uri(&self) -> Option<&'a str> {
        let params = self.params()?;
        let uri = match self.method()? {
            "completion/complete" => params.get("ref")?.get("uri")?,
            _ => params.get("uri")?,
        };
        self.text(uri)
    }

    /// `params.arguments`, unless it is `null`. An object in `tools/call` and `prompts/get`.
    #[must_use]
    pub fn arguments(&self) -> Option<Value<'_>> {
        self.envelope.arguments.map(|at| self.doc.value(at))
    }

    /// `_meta` of the parameters or of the result, if it is an object.
    #[must_use]
    pub fn meta(&self) -> Option<Value<'_>> {
        self.params()
            .or_else(|| self.result())?
            .get("_meta")
            .filter(|meta| meta.is_object())
    }

    /// The protocol revision a message names: in `_meta`, in the parameters of `initialize`, or in its result.
    #[must_use]
    pub fn protocol_version(&self) -> Option<&'a str> {
        if let Some(version) = self
            .meta()
            .and_then(|m| m.get("io.modelcontextprotocol/protocolVersion"))
        {
            return self.text(version);
        }
        let initialize = match self.method() {
            Some("initialize") => self.params()?,
            Some(_) => return None,
            None => self.result()?,
        };
        self.text(initialize.get("protocolVersion")?)
    }

    /// What the client calls itself: a hint, never a proof.
    #[must_use]
    pub fn client_name(&self) -> Option<&'a str> {
        let info = self
            .params()
            .and_then(|params| params.get("clientInfo"))
            .or_else(|| self.meta()?.get("io.modelcontextprotocol/clientInfo"))?;
        self.text(info.get("name")?)
    }

    /// The request a `notifications/cancelled` cancels.
    #[must_use]
    pub fn cancelled_request(&self) -> Option<Id<'a>> {
        if self.method()? != "notifications/cancelled" {
            return None;
        }
        self.id_at(self.params()?.get("requestId")?.place())
    }

    /// The token progress is reported under: `_meta.progressToken` of a request, `params.progressToken` of a
    /// `notifications/progress`.
    #[must_use]
    pub fn progress_token(&self) -> Option<Id<'a>> {
        let token = match self.method()? {
            "notifications/progress" => self.params()?.get("progressToken")?,
            _ => self.meta()?.get("progressToken")?,
        };
        self.id_at(token.place())
    }

    /// Every string of the message, keys and values, in frame order.
    #[must_use]
    pub fn strings(&self) -> Strings<'_> {
        Strings {
            doc: &self.doc,
            parts: &self.envelope.parts,
            rest: 0..self.doc.nodes.len(),
        }
    }

    /// The strings of one value of this message.
    #[must_use]
    pub fn strings_in<'m>(&'m self, value: Value<'m>) -> Strings<'m> {
        Strings {
            doc: &self.doc,
            parts: &self.envelope.parts,
            rest: self.doc.extent(value.place()),
        }
    }

    /// How many values and keys it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.doc.nodes.len()
    }

    /// What must be respelled before it is forwarded, in order and disjoint. Usually nothing.
    #[must_use]
    pub fn edits(&self) -> &'a [Edit] {
        self.edits
    }

    fn param_of(&self, method: &str, key: &str) -> Option<&'a str> {
        if self.method()? != method {
            return None;
        }
        self.text(self.params()?.get(key)?)
    }

    /// The text of a value with the message's own lifetime.
    fn text(&self, value: Value<'_>) -> Option<&'a str> {
        self.doc.str_at(value.place())
    }

    fn id_at(&self, at: usize) -> Option<Id<'a>> {
        let value = self.doc.value(at);
        match value.kind() {
            Kind::Number => value.as_integer().map(Id::Number),
            Kind::String => self.doc.str_at(at).map(Id::String),
            _ => None,
        }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        *self.home = Tape(std::mem::take(&mut self.doc.nodes)).reset();
    }
}

impl std::fmt::Debug for Message<'_> {
    /// Kind, method and size only: the rest may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind())
            .field("method", &self.method())
            .field("bytes", &self.doc.frame.len())
            .finish_non_exhaustive()
    }
}
