//! Policy, dangerous sequences, and whether a person is to be asked.
//!
//! Enter: [`Scanned`]. Leave: [`Permitted`], perhaps with a question. Never: a look at the bytes.

use std::sync::Arc;

use mcpf_model::{Direction, Family, Finding, MessageKind, Mode, Reason, ReasonCode, Stage};
use mcpf_policy::{Call, ChainRule, Decision, Effect};

use crate::arguments::View;
use crate::buckets::Nanos;
use crate::chain::Window;
use crate::detect::Scanned;
use crate::method::Method;
use crate::outcome::Question;
use crate::session::Session;
use crate::walk::{Step, Walk, denial, remark};

/// A message that may go on once nobody needs to be asked about it.
#[must_use]
pub(crate) struct Permitted<'w> {
    walk: Walk<'w>,
    question: Option<Question>,
}

impl<'w> Permitted<'w> {
    pub(crate) fn into_parts(self) -> (Walk<'w>, Option<Question>) {
        (self.walk, self.question)
    }
}

pub(crate) fn permit<'w>(
    scanned: Scanned<'w>,
    session: &mut Session,
    now: Nanos,
) -> Step<Permitted<'w>> {
    let mut walk = scanned.into_walk();
    if !matches!(walk.kind, MessageKind::Request | MessageKind::Notification) {
        chain_answers(&mut walk, session, now);
        return Ok(Permitted {
            walk,
            question: None,
        });
    }
    if let Some(reason) = walk
        .message
        .tool_name()
        .and_then(|tool| session.memory.open().quarantine.refusal(tool))
    {
        let mode = walk.generation.policy.mode();
        walk = walk.object(mode, reason)?;
    }
    let (decision, steps) = consult(&walk, session);
    let mut asked: Asked = None;
    if let Some(shadow) = &decision.shadow
        && walk.facts.reason.is_none()
    {
        let text = format!("a rule in monitor mode would {} this", shadow.effect);
        walk.facts.reason = Some(remark(Stage::Policy, Some(shadow.rule.clone()), text));
    }
    match decision.effect {
        Effect::Allow => {}
        Effect::Audit => {
            let text = "policy wants this in the audit".to_owned();
            walk.facts
                .reason
                .get_or_insert(remark(Stage::Policy, decision.rule, text));
        }
        Effect::Redact => walk.redact_all = true,
        Effect::Prompt if decision.mode == Mode::Enforce => {
            asked = Some((decision.rule, decision.message));
        }
        Effect::Prompt | Effect::Deny => {
            let reason = refusal(&walk, &decision);
            walk = walk.object(decision.mode, reason)?;
        }
    }
    (walk, asked) = chains(walk, session, now, &steps, asked)?;
    let question = match asked {
        None => None,
        // Nobody waits for the answer to a notification, so nobody can be asked about it.
        Some((rule, _)) if walk.kind == MessageKind::Notification => {
            let text = "this notification would need a person's approval".to_owned();
            return Err(walk.stop(denial(Stage::Approval, rule, text)));
        }
        Some((rule, message)) => {
            let Some(arguments) = walk.shown() else {
                let text = "this needs a person's approval, and is too long to be shown whole";
                return Err(walk.stop(denial(Stage::Approval, rule, text.to_owned())));
            };
            Some(Question {
                agent: Arc::clone(&session.principal.agent),
                server: Arc::clone(&session.server),
                action: walk
                    .facts
                    .tool
                    .clone()
                    .unwrap_or_else(|| Arc::clone(&walk.facts.method)),
                arguments,
                rule,
                message,
            })
        }
    };
    Ok(Permitted { walk, question })
}

/// Asks the policy, and which chain steps this call is: chain and step.
fn consult(walk: &Walk<'_>, session: &Session) -> (Decision, Vec<(usize, usize)>) {
    let message = &walk.message;
    let arguments = View {
        arguments: message.arguments(),
        params: message.params(),
    };
    let call = Call {
        tool: message.tool_name(),
        resource: message.resource_uri(),
        prompt: message.prompt_name(),
        agent: &session.principal.agent,
        server: &session.server,
        arguments: &arguments,
        ..Call::new(walk.direction, message.method().unwrap_or_default())
    };
    let policy = &walk.generation.policy;
    let chained = walk.direction == Direction::Inbound && walk.kind == MessageKind::Request;
    let steps = if chained {
        policy.steps(&call)
    } else {
        Vec::new()
    };
    (policy.decide(&call), steps)
}

fn refusal(walk: &Walk<'_>, decision: &Decision) -> Reason {
    let text = match (&decision.message, &decision.rule) {
        (Some(message), _) => message.to_string(),
        (None, Some(_)) => "policy does not allow this".to_owned(),
        (None, None) => match walk.method {
            Method::ToolsCall => "no policy rule allows this tool".to_owned(),
            _ => "no policy rule allows this".to_owned(),
        },
    };
    denial(Stage::Policy, decision.rule.clone(), text)
}

type Asked = Option<(Option<Arc<str>>, Option<Arc<str>>)>;

/// Moves every chain on; the first that this call completes decides.
fn chains<'w>(
    mut walk: Walk<'w>,
    session: &mut Session,
    now: Nanos,
    steps: &[(usize, usize)],
    mut asked: Asked,
) -> Step<(Walk<'w>, Asked)> {
    if walk.direction != Direction::Inbound || walk.kind != MessageKind::Request {
        return Ok((walk, asked));
    }
    session.memory.open().chains.call();
    let generation = walk.generation;
    for (at, rule) in generation.policy.chains().iter().enumerate() {
        let is = |step: usize| steps.contains(&(at, step));
        if !(0..rule.steps.len()).any(is) {
            continue;
        }
        let met = |step: usize| {
            is(step)
                && rule
                    .steps
                    .get(step)
                    .is_some_and(|s| has_family(walk.findings, s.findings()))
        };
        let complete =
            session
                .memory
                .open()
                .chains
                .observe(at, rule.steps.len(), window(rule), now, met);
        for step in 0..rule.steps.len() {
            if is(step) && !met(step) {
                walk.steps_awaiting.push((at, step));
            }
        }
        if !complete {
            continue;
        }
        let text = match &rule.message {
            Some(message) => message.to_string(),
            None => format!(
                "this call completes a dangerous sequence of {} calls",
                rule.steps.len()
            ),
        };
        let reason = denial(Stage::Chain, Some(Arc::clone(&rule.name)), text);
        let mode = rule.mode.unwrap_or(generation.policy.mode());
        match rule.effect {
            Effect::Deny => walk = walk.object(mode, reason)?,
            Effect::Prompt if mode == Mode::Enforce => {
                asked.get_or_insert((Some(Arc::clone(&rule.name)), Some(reason.text.into())));
            }
            _ => {
                let reason = Reason {
                    code: ReasonCode::Noted,
                    ..reason
                };
                walk.facts.reason.get_or_insert(reason);
            }
        }
    }
    Ok((walk, asked))
}

/// An answer can be what a chain's step was waiting for: the secret that was read.
fn chain_answers(walk: &mut Walk<'_>, session: &mut Session, now: Nanos) {
    let Some(pending) = walk.pending.as_ref().filter(|p| !p.steps.is_empty()) else {
        return;
    };
    for (at, rule) in walk.generation.policy.chains().iter().enumerate() {
        let met = |step: usize| {
            pending.steps.contains(&(at, step))
                && rule
                    .steps
                    .get(step)
                    .is_some_and(|s| has_family(walk.findings, s.findings()))
        };
        if (0..rule.steps.len()).any(met) {
            // The last step of a chain is a call: an answer alone completes nothing.
            session
                .memory
                .open()
                .chains
                .observe(at, rule.steps.len(), window(rule), now, |step| {
                    step + 1 < rule.steps.len() && met(step)
                });
        }
    }
}

fn has_family(findings: &[Finding], wanted: &[Family]) -> bool {
    wanted.is_empty()
        || findings
            .iter()
            .any(|finding| wanted.contains(&finding.family))
}

fn window(rule: &ChainRule) -> Window {
    Window {
        calls: u64::from(rule.within_calls.get()),
        nanos: u64::try_from(rule.within.as_nanos()).unwrap_or(u64::MAX),
    }
}
