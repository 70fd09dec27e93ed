//! The bodies of the records: everything a hash covers, in one fixed order of members.
//!
//! An entry (or what there is to say about a start, a recovery, a stop) enters; one JSON object
//! without its closing brace leaves, for the [chain](crate::chain) to finish. Optional members are
//! left out when they have nothing to say.

use crate::json::{Object, clip, push_list, push_number, push_string, push_value};
use crate::record::{
    Arguments, Entry, Event, FindingRecord, MAX_ARGUMENTS, MAX_FINDINGS, MAX_LABEL, MAX_LABELS,
    MAX_NAME, MAX_URI,
};
use crate::recover::Torn;
use crate::settings::{Continues, Start};
use crate::time::Utc;
use crate::{Durability, PublicKey, Sign};
use mcpf_model::{Reason, RequestId};
use std::time::SystemTime;

/// Version of the record format.
pub(crate) const VERSION: u64 = 1;

/// A record's place in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) group: u64,
}

/// The members every record begins with.
fn begin<'b>(out: &'b mut Vec<u8>, place: Place, kind: &str, time: SystemTime) -> Object<'b> {
    let mut object = Object::open(out);
    object.number("v", VERSION);
    object.number("seq", place.seq);
    object.number("group", place.group);
    object.word("type", kind);
    let value = object.key("time");
    value.push(b'"');
    Utc::of(time).push_rfc3339(value);
    value.push(b'"');
    object
}

/// A `decision` record.
pub(crate) fn decision(out: &mut Vec<u8>, place: Place, entry: &Entry) {
    let mut object = begin(out, place, "decision", entry.time);
    object.number("mono", entry.monotonic_ns);
    object.word("direction", entry.direction.as_str());
    if let Some(kind) = entry.kind {
        object.word("kind", kind.as_str());
    }
    object.maybe("method", entry.method.as_deref(), MAX_NAME);
    object.text("agent", &entry.agent, MAX_NAME);
    object.maybe("tenant", entry.tenant.as_deref(), MAX_NAME);
    object.text("session", &entry.session, MAX_NAME);
    object.maybe("server", entry.server.as_deref(), MAX_NAME);
    object.maybe("tool", entry.tool.as_deref(), MAX_NAME);
    object.maybe("resource", entry.resource.as_deref(), MAX_URI);
    object.maybe("prompt", entry.prompt.as_deref(), MAX_NAME);
    if let Some(id) = &entry.request {
        request(&mut object, id);
    }
    if let Some(value) = &entry.arguments {
        arguments(&mut object, value);
    }
    if let Some(result) = entry.result {
        let mut inner = Object::open(object.key("result"));
        inner.number("bytes", result.bytes);
        inner.boolean("is_error", result.is_error);
        inner.close();
    }
    object.word("decision", entry.decision.as_str());
    if let Some(why) = &entry.reason {
        reason(&mut object, why);
    }
    findings(&mut object, &entry.findings);
    pairs(&mut object, "labels", &entry.labels);
    object.maybe("policy", entry.policy.as_deref(), MAX_NAME);
    object.maybe("rules", entry.rules.as_deref(), MAX_NAME);
    object.word("mode", entry.mode.as_str());
    object.maybe("upstream", entry.upstream.as_deref(), MAX_NAME);
    if let Some(latency) = entry.latency_ns {
        object.number("latency_ns", latency);
    }
    object.truncated();
}

/// An `event` record.
pub(crate) fn event(out: &mut Vec<u8>, place: Place, event: &Event) {
    let mut object = begin(out, place, "event", event.time);
    object.number("mono", event.monotonic_ns);
    object.text("event", event.name, MAX_NAME);
    pairs(&mut object, "detail", &event.detail);
    object.truncated();
}

/// A `start` record: the first of a file, and the first of every later run that writes to it.
pub(crate) fn start(
    out: &mut Vec<u8>,
    place: Place,
    start: &Start,
    how: (&PublicKey, Durability, Sign),
    continues: Option<&Continues>,
) {
    let (key, durability, sign) = how;
    let mut object = begin(out, place, "start", start.time);
    object.text("program", &start.program, MAX_NAME);
    object.number("pid", u64::from(std::process::id()));
    object.word("public_key", &key.to_string());
    object.word("sign", sign.as_str());
    object.word("durability", durability.as_str());
    object.number(
        "loss_window_ms",
        u64::try_from(durability.loss_window().as_millis()).unwrap_or(u64::MAX),
    );
    object.word("loss", durability.loss());
    object.word("mode", start.mode.as_str());
    object.maybe("policy", start.policy.as_deref(), MAX_NAME);
    object.maybe("rules", start.rules.as_deref(), MAX_NAME);
    object.maybe("server", start.server.as_deref(), MAX_NAME);
    if let Some(continues) = continues {
        let mut inner = Object::open(object.key("continues"));
        inner.text("file", &continues.file, MAX_NAME);
        inner.number("seq", continues.seq);
        inner.word("hash", &crate::bytes::hex(&continues.hash));
        inner.close();
    }
    object.truncated();
}

/// A `recovery` record: what the run before left behind without closing the file.
pub(crate) fn recovery(
    out: &mut Vec<u8>,
    place: Place,
    time: SystemTime,
    unsigned: u64,
    torn: Option<&Torn>,
) {
    let mut object = begin(out, place, "recovery", time);
    object.number("unsigned", unsigned);
    object.number("torn_bytes", torn.map_or(0, |torn| torn.bytes));
    if let Some(torn) = torn {
        object.word("torn_sha256", &crate::bytes::hex(&torn.sha256));
    }
}

/// A `seal` record: it carries the signature over the records before it.
pub(crate) fn seal(out: &mut Vec<u8>, place: Place, time: SystemTime) {
    begin(out, place, "seal", time);
}

/// A `stop` record: the last of a run that was closed.
pub(crate) fn stop(out: &mut Vec<u8>, place: Place, time: SystemTime, decisions: u64) {
    let mut object = begin(out, place, "stop", time);
    object.number("decisions", decisions);
}

fn request(object: &mut Object<'_>, id: &RequestId) {
    match id {
        RequestId::Number(n) => {
            let value = object.key("request");
            if *n < 0 {
                value.push(b'-');
            }
            push_number(value, n.unsigned_abs());
        }
        RequestId::String(text) => object.text("request", text, MAX_NAME),
    }
}

fn arguments(object: &mut Object<'_>, arguments: &Arguments) {
    let kept = clip(&arguments.text, MAX_ARGUMENTS);
    let whole = kept.len() == arguments.text.len();
    if arguments.truncated || !whole {
        object.note_clipped("arguments");
    }
    let value = object.key("arguments");
    if !whole || !push_value(value, kept) {
        push_string(value, kept);
    }
}

fn reason(object: &mut Object<'_>, reason: &Reason) {
    let mut inner = Object::open(object.key("reason"));
    inner.word("stage", reason.stage.as_str());
    inner.word("code", reason.code.as_str());
    inner.maybe("rule", reason.rule.as_deref(), MAX_NAME);
    inner.text("text", &reason.text, MAX_NAME);
    inner.truncated();
    inner.close();
}

fn findings(object: &mut Object<'_>, findings: &[FindingRecord]) {
    if findings.is_empty() {
        return;
    }
    let kept = findings.get(..MAX_FINDINGS).unwrap_or(findings);
    push_list(object.key("findings"), b'[', b']', kept, |out, finding| {
        let mut inner = Object::open(out);
        inner.word("rule", clip(&finding.rule, MAX_LABEL));
        inner.word("family", finding.family.as_str());
        inner.word("severity", finding.severity.as_str());
        inner.word("action", finding.action.as_str());
        inner.word("surface", finding.surface.as_str());
        inner.word("view", finding.view.as_str());
        let span = [finding.span.start, finding.span.end];
        push_list(inner.key("span"), b'[', b']', &span, |out, edge| {
            push_number(out, u64::from(*edge));
        });
        inner.close();
    });
    let omitted = findings.len() - kept.len();
    if omitted > 0 {
        object.number(
            "findings_omitted",
            u64::try_from(omitted).unwrap_or(u64::MAX),
        );
    }
}

/// An object of strings; of two equal keys the first is kept, so that every reader sees the same.
fn pairs<K: AsRef<str>, V: AsRef<str>>(
    object: &mut Object<'_>,
    name: &'static str,
    pairs: &[(K, V)],
) {
    if pairs.is_empty() {
        return;
    }
    let mut kept: Vec<(&str, &str)> = Vec::with_capacity(pairs.len().min(MAX_LABELS));
    let mut cut = false;
    for (key, value) in pairs {
        let (short_key, short_value) = (
            clip(key.as_ref(), MAX_LABEL),
            clip(value.as_ref(), MAX_LABEL),
        );
        if kept.len() == MAX_LABELS || kept.iter().any(|(known, _)| *known == short_key) {
            cut = true;
            continue;
        }
        cut |= short_key.len() < key.as_ref().len() || short_value.len() < value.as_ref().len();
        kept.push((short_key, short_value));
    }
    if cut {
        object.note_clipped(name);
    }
    push_list(object.key(name), b'{', b'}', &kept, |out, (key, value)| {
        push_string(out, key);
        out.push(b':');
        push_string(out, value);
    });
}
