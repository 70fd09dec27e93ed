//! What comes out of the corridor: a message that may leave, an answer in its stead, or a question.
//!
//! A [`Released`] can only be made here, and a socket writer takes nothing else: a byte that was
//! not inspected does not compile.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use mcpf_model::{Direction, Finding, MessageKind, Mode, Reason, ReasonCode, RequestId, Verdict};

/// A message that may leave: the very bytes that came, or the same with spans replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a released message is to be forwarded"]
pub struct Released<'f> {
    bytes: Cow<'f, [u8]>,
}

impl<'f> Released<'f> {
    pub(crate) const fn new(bytes: Cow<'f, [u8]>) -> Self {
        Self { bytes }
    }

    /// One frame, without its line end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether these are the bytes that came in.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        matches!(self.bytes, Cow::Borrowed(_))
    }
}

/// What is to become of a message.
#[derive(Debug)]
#[must_use = "the sender awaits what is decided here"]
pub enum Outcome<'f> {
    /// It goes on.
    Forward(Released<'f>),
    /// It does not; somebody may be owed an answer.
    Block(Blocked),
    /// A person is to be asked first.
    Hold(Box<Held>),
    /// A batch that the negotiated revision allows: each element is to be inspected by itself.
    Split(Vec<Range<usize>>),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub reason: Reason,
    /// Who is told, if somebody waits.
    pub answer: Option<Answer>,
}

/// An answer that we owe in the stead of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The direction in which the answer travels: [`Direction::Outbound`] is to the client.
    pub direction: Direction,
    /// The id to answer under; `None` is written as `null` (JSON-RPC 2.0 section 5).
    pub id: Option<RequestId>,
    /// What the waiting side called.
    pub call: AnsweredCall,
    /// Whose fault it is, which decides the error code.
    pub code: ReasonCode,
}

/// What kind of request an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredCall {
    /// A `tools/call`, whose refusal can be a result with `isError` that the model reads.
    Tool {
        /// Whether the result needs a `resultType` (2026-07-28).
        modern: bool,
    },
    /// Anything else: a JSON-RPC error.
    Other,
}

/// A message that waits for a person. Its bytes are frozen: what is approved is what is sent.
#[derive(Debug)]
pub struct Held {
    pub(crate) released: Released<'static>,
    pub(crate) answer: Answer,
    /// What the person is asked.
    pub question: Question,
}

/// What a person sees before deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who calls.
    pub agent: Arc<str>,
    /// Which server would act.
    pub server: Arc<str>,
    /// The tool or, without one, the method.
    pub action: Arc<str>,
    /// The arguments whole, or all parameters where there are others than the method defines;
    /// secrets removed, at most [`Question::MAX_ARGUMENTS`] bytes: a longer call is refused,
    /// because nobody can approve what they do not see.
    pub arguments: String,
    /// The policy rule that wants a person's word.
    pub rule: Option<Arc<str>>,
    /// The rule's own words.
    pub message: Option<Arc<str>>,
}

impl Question {
    /// Most bytes of arguments that a person is shown. 32 KiB, some four hundred lines.
    pub const MAX_ARGUMENTS: usize = 32 * 1_024;
}

impl Held {
    /// The id of the request that waits.
    #[must_use]
    pub const fn id(&self) -> Option<&RequestId> {
        self.answer.id.as_ref()
    }

    /// A person said yes.
    pub fn approve(self) -> Released<'static> {
        self.released
    }

    /// A person said no, or did not answer in time.
    #[must_use]
    pub fn refuse(self, reason: Reason) -> Blocked {
        Blocked {
            reason,
            answer: Some(self.answer),
        }
    }
}

/// What the audit records of a message. Matched text is never in it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which way it travelled.
    pub direction: Direction,
    /// Its shape; `None` when it could not be read.
    pub kind: Option<MessageKind>,
    /// Its method; for a response that of the request it answers.
    pub method: Arc<str>,
    /// Its id.
    pub id: Option<RequestId>,
    /// The tool it calls or answers for.
    pub tool: Option<Arc<str>>,
    /// The resource or prompt it names.
    pub target: Option<Arc<str>>,
    /// The revision that a message other than `initialize` says it belongs to, in its `_meta`.
    pub revision: Option<Arc<str>>,
    /// Arguments of a call with secrets and personal data removed; cut at [`Self::MAX_ARGUMENTS`].
    pub arguments: Option<String>,
    /// Whether `arguments` was cut.
    pub arguments_cut: bool,
    /// Bytes of the frame.
    pub bytes: usize,
    /// Whether a tool's result says that it failed.
    pub is_error: bool,
    /// What was decided.
    pub verdict: Verdict,
    /// Why, when it was refused or would have been.
    pub reason: Option<Reason>,
    /// Every finding, acted upon or not.
    pub findings: Vec<Finding>,
    /// The mode that applied.
    pub mode: Mode,
}

impl Facts {
    /// Most bytes of arguments kept for the audit. 4 KiB.
    pub const MAX_ARGUMENTS: usize = 4_096;
}

/// An outcome and what the audit needs to know of it.
#[derive(Debug)]
#[must_use = "nothing may be forwarded before its record is queued"]
pub struct Inspection<'f> {
    /// What is to become of the message.
    pub outcome: Outcome<'f>,
    /// What is to be recorded.
    pub facts: Facts,
}
