//! Every case in `tests/cases`: what arrives, and what is forwarded or refused.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use mcpf_model::Limits;
use mcpf_wire::{IdOfRefused, LineFramer, Parser, Refusal, Shape, apply};

struct Case {
    place: String,
    title: String,
    input: Vec<u8>,
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (file, text) in [
        ("client", include_str!("cases/client.case")),
        ("server", include_str!("cases/server.case")),
    ] {
        for (number, line) in text.lines().enumerate() {
            match line.split_at_checked(2) {
                Some(("==", title)) => cases.push(Case {
                    place: format!("{file}.case:{}", number + 1),
                    title: title.trim().to_owned(),
                    input: Vec::new(),
                    expected: Vec::new(),
                }),
                Some(("< ", input)) => cases.last_mut().unwrap().input = bytes(input),
                Some(("> ", expected)) => {
                    cases.last_mut().unwrap().expected.push(expected.to_owned());
                }
                _ => assert!(
                    line.is_empty() || line.starts_with('#'),
                    "{file}.case:{}: {line}",
                    number + 1
                ),
            }
        }
    }
    cases
}

/// `<<0D>>` is a byte, `<<200*[>>` is a text repeated.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("<<") {
        out.extend_from_slice(plain.as_bytes());
        let (inside, after) = after.split_once(">>").unwrap();
        match inside.split_once('*') {
            Some((times, what)) => out.extend(what.repeat(times.parse().unwrap()).into_bytes()),
            None => out.push(u8::from_str_radix(inside, 16).unwrap()),
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn run(input: &[u8], limits: &Limits) -> Vec<Result<Vec<u8>, Refusal>> {
    let mut framer = LineFramer::new(limits.max_frame);
    let mut parser = Parser::new(limits);
    framer.push(input);
    framer.push(b"\n");
    let mut outcomes = Vec::new();
    while let Some(next) = framer.next_frame() {
        outcomes.push(match next {
            Err(error) => Err(error.refusal(limits)),
            Ok(range) => parser.parse(framer.frame(range)).map(|message| {
                let mut out = Vec::new();
                apply(message.frame(), message.edits(), &mut out);
                out
            }),
        });
    }
    assert_eq!(framer.finish(), None);
    outcomes
}

fn describe(refusal: &Refusal) -> String {
    let id = match &refusal.id {
        IdOfRefused::Known(id) => id.to_string(),
        IdOfRefused::Unknown => "null".to_owned(),
    };
    let shape = match refusal.shape {
        Shape::Request => "request",
        Shape::Response => "response",
        Shape::Notification => "notification",
        Shape::Unknown => "unknown",
    };
    format!(
        "refuse {} {} {id} {shape}",
        refusal.code.code(),
        refusal.code.as_str()
    )
}

#[test]
fn every_case_comes_out_as_written() {
    let limits = Limits::default();
    let cases = cases();
    assert!(cases.len() > 150);
    let mut wrong = Vec::new();
    for case in &cases {
        let outcomes = run(&case.input, &limits);
        let expected: Vec<Vec<u8>> = case
            .expected
            .iter()
            .filter(|line| *line != "nothing")
            .map(|line| {
                if line == "same" {
                    case.input.clone()
                } else {
                    bytes(line)
                }
            })
            .collect();
        let actual: Vec<Vec<u8>> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Ok(forwarded) => forwarded.clone(),
                Err(refusal) => describe(refusal).into_bytes(),
            })
            .collect();
        if expected != actual {
            let show = |lines: &[Vec<u8>]| {
                lines
                    .iter()
                    .map(|l| String::from_utf8_lossy(&l[..l.len().min(300)]).into_owned())
                    .collect::<Vec<_>>()
            };
            wrong.push(format!(
                "{} {}\n  want {:?}\n  got  {:?}",
                case.place,
                case.title,
                show(&expected),
                show(&actual)
            ));
        }
    }
    if !wrong.is_empty() {
        panic!("{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn the_slow_twin_agrees_on_every_case() {
    let limits = Limits::default();
    for case in cases() {
        for line in case
            .input
            .split(|b| *b == b'\n')
            .filter(|line| line.len() < 100_000)
        {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            mcpf_wire::oracle::check(line, &limits)
                .unwrap_or_else(|e| panic!("{} {}: {e}", case.place, case.title));
        }
    }
}
