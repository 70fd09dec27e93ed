//! Kill switch, identity, rate limit.
//!
//! Enter: a message with one meaning. Leave: [`Admitted`]. Never: a look at its contents.

use mcpf_model::{Direction, MessageKind, Reason, ReasonCode, Stage};
use mcpf_policy::Quota;

use crate::buckets::{Nanos, Rate, Scope};
use crate::generation::Shared;
use crate::method::Method;
use crate::session::Session;
use crate::walk::{Step, Walk, denial, identify};

/// A message that may be looked at.
#[must_use]
pub(crate) struct Admitted<'w>(pub(in crate::admit) Walk<'w>);

impl<'w> Admitted<'w> {
    pub(crate) fn into_walk(self) -> Walk<'w> {
        self.0
    }
}

pub(crate) fn admit<'w>(
    walk: Walk<'w>,
    session: &mut Session,
    shared: &Shared,
    now: Nanos,
) -> Step<Admitted<'w>> {
    let walk = kill_switch(walk, shared)?;
    if walk.direction == Direction::Outbound {
        return Ok(Admitted(walk));
    }
    identify(session, walk.message.client_name());
    rate_limit(walk, session, shared, now).map(Admitted)
}

/// Never monitored: whoever throws the switch means it.
fn kill_switch<'w>(walk: Walk<'w>, shared: &Shared) -> Step<Walk<'w>> {
    if shared.kill.is_on() {
        let text =
            "the kill switch is on: nothing passes until the operator turns it off".to_owned();
        return Err(walk.stop(denial(Stage::KillSwitch, None, text)));
    }
    Ok(walk)
}

fn rate_limit<'w>(
    walk: Walk<'w>,
    session: &Session,
    shared: &Shared,
    now: Nanos,
) -> Step<Walk<'w>> {
    if walk.kind != MessageKind::Request || is_free(walk.method) {
        return Ok(walk);
    }
    let policy = &walk.generation.policy;
    let quotas = policy.quotas();
    let agent = &*session.principal.agent;
    let name = walk
        .message
        .tool_name()
        .or_else(|| walk.message.method())
        .unwrap_or_default();
    let by_glob = quotas.tool(name);
    let wanted = [
        (Scope::Global, quotas.global),
        (Scope::Agent, policy.agent_quota(agent)),
        (
            Scope::Tool,
            if by_glob.is_some() {
                None
            } else {
                quotas.per_tool
            },
        ),
        (Scope::AgentTool, quotas.per_agent_tool),
    ];
    let mut rates = [(
        Scope::Global,
        Rate {
            interval: 1,
            burst: 1,
        },
    ); 4];
    let mut used = 0;
    for (scope, quota) in wanted {
        if let (Some(quota), Some(slot)) = (quota, rates.get_mut(used)) {
            *slot = (scope, rate(quota));
            used += 1;
        }
    }
    let rates = rates.get(..used).unwrap_or_default();
    let mut taken = shared.buckets.take_all(rates, agent, name, now);
    if let (Ok(()), Some((glob, quota))) = (&taken, by_glob) {
        // All tools of one glob share a bucket, named by the glob's place in the policy.
        taken =
            shared
                .buckets
                .take_all(&[(Scope::Tool, rate(quota))], "", &format!("\0{glob}"), now);
    }
    match taken {
        Ok(()) => Ok(walk),
        Err((scope, over)) => {
            let reason = Reason {
                stage: Stage::RateLimit,
                code: ReasonCode::Overloaded,
                rule: Some(format!("rate_limit.{}", scope.as_str()).into()),
                text: format!(
                    "too many calls {}; retry in {}",
                    match scope {
                        Scope::Global => "in all",
                        Scope::Agent => "by this agent",
                        Scope::Tool => "of this tool",
                        Scope::AgentTool => "of this tool by this agent",
                    },
                    seconds(over.retry_after)
                ),
            };
            let mode = policy.mode();
            walk.object(mode, reason)
        }
    }
}

/// Handshakes, pings and listings cost nothing.
const fn is_free(method: Method) -> bool {
    matches!(
        method,
        Method::Initialize
            | Method::Discover
            | Method::Ping
            | Method::ToolsList
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::PromptsList
            | Method::LoggingSetLevel
    )
}

const fn rate(quota: Quota) -> Rate {
    Rate {
        interval: quota.interval_ns.get(),
        burst: quota.burst.get(),
    }
}

fn seconds(nanos: u64) -> String {
    let millis = nanos.div_ceil(1_000_000);
    if millis < 1_000 {
        format!("{millis} ms")
    } else {
        format!("{} s", millis.div_ceil(1_000))
    }
}
