#![allow(unsafe_code, clippy::all)]
use mcpf_model::*;
use mcpf_scan::*;
fn main() {
    let rules = mcpf_rules::builtin_rules().unwrap_or_else(|e| {
        for d in &e {
            println!("{d}");
        }
        panic!()
    });
    let t = std::time::Instant::now();
    let engine = Engine::build(mcpf_rules::specs(&rules), None).unwrap_or_else(|e| {
        for d in &e {
            println!("{d}");
        }
        panic!()
    });
    println!(
        "build {:?} rules {} patterns {}",
        t.elapsed(),
        rules.len(),
        engine.pattern_count()
    );
    let mut pieces: Vec<String> = vec![];
    for r in &rules {
        for e in r.examples.iter().chain(r.negative_examples.iter()) {
            pieces.push(e.value.clone());
        }
    }
    println!("{} pieces", pieces.len());
    let mut scratch = engine.new_scratch().unwrap();
    let (mut a, mut b) = (vec![], vec![]);
    let limits = Limits {
        max_findings: 100_000,
        ..Limits::default()
    };
    let mut seed = 42_u64;
    let mut rnd = move |n: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 33) as usize) % n
    };
    let mut total = 0;
    let mut bad = 0;
    let mut run = |texts: &[String], surface: Surface| {
        let mut frame = String::from("[");
        let mut spans = vec![];
        for t in texts {
            let s = frame.len() as u32 + 1;
            frame.push_str(&serde_json::to_string(t).unwrap());
            spans.push(Span {
                start: s,
                end: frame.len() as u32 - 1,
            });
            frame.push(',');
        }
        let it = || {
            texts.iter().zip(&spans).map(|(t, s)| Text {
                text: t,
                raw: *s,
                surface,
            })
        };
        let x = engine.scan(frame.as_bytes(), it(), &limits, &mut scratch, &mut a);
        let y = engine.scan_naive(frame.as_bytes(), it(), &limits, &mut scratch, &mut b);
        total += b.len();
        if x != y || a != b {
            bad += 1;
            if bad < 15 {
                for f in b.iter().filter(|f| !a.contains(f)) {
                    println!(
                        "MISS {} {:?} {:?}",
                        engine.rule(f.rule).id,
                        f.view,
                        &frame[f.span.range()]
                    );
                }
                for f in a.iter().filter(|f| !b.contains(f)) {
                    println!(
                        "EXTRA {} {:?} {:?}",
                        engine.rule(f.rule).id,
                        f.view,
                        &frame[f.span.range()]
                    );
                }
                if x != y {
                    println!("{x:?} {y:?}");
                }
            }
        }
    };
    for p in pieces.clone().into_iter().take(1) {
        for s in Surface::ALL {
            run(&[p.clone()], s);
        }
    }
    for n in 0..0 {
        let texts: Vec<String> = (0..1 + rnd(4))
            .map(|_| {
                let mut s = String::new();
                for _ in 0..1 + rnd(4) {
                    let p = &pieces[rnd(pieces.len())];
                    let chars: Vec<char> = p.chars().collect();
                    let (i, j) = (rnd(chars.len() + 1), rnd(chars.len() + 1));
                    match rnd(4) {
                        0 => s.extend(&chars[i.min(j)..i.max(j)]),
                        1 => {
                            let mut c = chars.clone();
                            if i < c.len() {
                                c[i] = ['x', ' ', '0', '\u{200b}', 'о', '\n'][rnd(6)];
                            }
                            s.extend(c)
                        }
                        _ => s.push_str(p),
                    }
                    s.push_str(["", " ", "\n", ": "][rnd(4)]);
                }
                s
            })
            .collect();
        run(&texts, Surface::ALL[n % 4]);
    }
    println!("total naive findings {total}, disagreements {bad}");
    // Rough speed (dev profile).
    let prose = "The quarterly report describes how the team moved the service to a new region, what it cost, and which of the 42 open items remain for next year. See docs/setup-guide.md. ".repeat(6)[..1024].to_owned();
    for (name, text) in [("prose1k", prose.clone()), ("prose64k", prose.repeat(64))] {
        let frame = format!("\"{text}\"");
        let span = Span {
            start: 1,
            end: frame.len() as u32 - 1,
        };
        let t = std::time::Instant::now();
        let n = if text.len() > 2000 { 200 } else { 5000 };
        for _ in 0..n {
            engine
                .scan(
                    frame.as_bytes(),
                    std::iter::once(Text {
                        text: &text,
                        raw: span,
                        surface: Surface::ToolResult,
                    }),
                    &limits,
                    &mut scratch,
                    &mut a,
                )
                .unwrap();
        }
        unsafe {
            std::env::set_var("T", "1");
        }
        for _ in 0..3 {
            engine
                .scan(
                    frame.as_bytes(),
                    std::iter::once(Text {
                        text: &text,
                        raw: span,
                        surface: Surface::ToolResult,
                    }),
                    &limits,
                    &mut scratch,
                    &mut a,
                )
                .unwrap();
        }
        unsafe {
            std::env::remove_var("T");
        }
        println!("{name} {:?}/scan, {} findings", t.elapsed() / n, a.len());
    }
}
