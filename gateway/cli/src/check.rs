//! `check`: what would be decided about one message.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use mcpf_model::{Direction, Principal, Reason, ReasonCode, Stage, Verdict};
use mcpf_pipeline::{
    Context, Facts, Generation, Inspection, Nanos, Outcome, Scratch, Session, Shared, inspect,
};
use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::{assemble, print};

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(args.settings.flags())?;
    assemble::logging(&config);
    let generation = Arc::new(assemble::generation(&config)?);
    let mut scratch = Scratch::new(&generation)?;
    let agent = config
        .agent
        .as_deref()
        .map_or_else(Principal::anonymous, |agent| Principal {
            agent: agent.into(),
            asserted_by_operator: true,
        });
    let mut session = Session::new(
        "check".into(),
        config.name.as_str().into(),
        agent,
        &generation.limits,
    );
    let context = Context {
        generation: Arc::clone(&generation),
        shared: Arc::new(Shared::default()),
    };
    let (request, reply) = messages(args)?;
    let mut walk = |direction, frame: &Value| {
        let frame = frame.to_string();
        let Inspection { outcome, facts } = inspect(
            &context,
            &mut session,
            &mut scratch,
            direction,
            frame.as_bytes(),
            Nanos(1),
        );
        let out = match &outcome {
            Outcome::Forward(released) => {
                Some(String::from_utf8_lossy(released.bytes()).into_owned())
            }
            _ => None,
        };
        let mut facts = facts;
        if let Outcome::Hold(held) = &outcome {
            facts.reason = Some(Reason {
                stage: Stage::Approval,
                code: ReasonCode::Noted,
                rule: held.question.rule.clone(),
                text: held
                    .question
                    .message
                    .as_deref()
                    .unwrap_or("a person would be asked")
                    .to_owned(),
            });
        }
        (matches!(outcome, Outcome::Hold(_)), facts, out)
    };
    let mut last = walk(Direction::Inbound, &request);
    if let (Some(reply), true) = (reply, last.2.is_some()) {
        last = walk(Direction::Outbound, &reply);
    }
    let (held, facts, out) = last;
    report(args.json, &generation, held, &facts, out.as_deref())
}

/// The message to check and, when it is an answer, the request before it.
fn messages(args: &CheckArgs) -> anyhow::Result<(Value, Option<Value>)> {
    let call = |name: &str, arguments: &Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let answer = |result: Value| Some(json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    if let Some(tool) = &args.tool {
        let text = given(args.args.as_deref().unwrap_or("{}"))?;
        let arguments: Value = serde_json::from_str(&text).context("--args is not JSON")?;
        if !arguments.is_object() {
            bail!("--args must be a JSON object, such as '{{\"path\": \"/tmp/x\"}}'");
        }
        return Ok((call(tool, &arguments), None));
    }
    if let Some(text) = &args.result {
        let result = json!({"content": [{"type": "text", "text": given(text)?}]});
        return Ok((call("check", &json!({})), answer(result)));
    }
    if let Some(text) = &args.prompt {
        let get = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "check"}});
        let result = json!({"messages": [{"role": "user", "content": {"type": "text", "text": given(text)?}}]});
        return Ok((get, answer(result)));
    }
    bail!("give --tool (with --args), --result or --prompt")
}

/// A value as given, or standard input for `-`.
fn given(value: &str) -> anyhow::Result<String> {
    if value != "-" {
        return Ok(value.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(text)
}

fn report(
    as_json: bool,
    generation: &Generation,
    held: bool,
    facts: &Facts,
    out: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let decision = match (held, facts.verdict) {
        (true, _) => "prompt",
        (false, verdict) => verdict.as_str(),
    };
    if as_json {
        let findings: Vec<_> = facts
            .findings
            .iter()
            .map(|finding| {
                let rule = generation.engine.rule(finding.rule);
                json!({
                    "rule": &*rule.id, "name": rule.name, "family": finding.family.as_str(),
                    "severity": finding.severity.as_str(), "action": finding.action.as_str(),
                    "view": finding.view.as_str(),
                })
            })
            .collect();
        let reason = facts.reason.as_ref().map(|reason| {
            json!({"stage": reason.stage.as_str(), "rule": reason.rule.as_deref(), "text": reason.text})
        });
        print::line(
            &json!({"decision": decision, "reason": reason, "findings": findings}).to_string(),
        )?;
    } else {
        let colour = print::colour();
        let code = match facts.verdict {
            Verdict::Allow if !held => print::GREEN,
            Verdict::Deny => print::RED,
            _ => print::YELLOW,
        };
        print::line(&print::paint(decision, code, colour))?;
        if let Some(reason) = &facts.reason {
            print::line(&format!("  {}: {reason}", reason.stage))?;
        }
        for finding in &facts.findings {
            let rule = generation.engine.rule(finding.rule);
            print::line(&format!(
                "  {} {} {} ({}, {} view): {}",
                finding.action,
                finding.severity,
                rule.id,
                finding.family,
                finding.view.as_str(),
                rule.name
            ))?;
        }
        if let (Verdict::Redact, Some(out)) = (facts.verdict, out) {
            print::line(&format!("  would pass on: {out}"))?;
        }
    }
    let clean = !held && facts.verdict == Verdict::Allow;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
