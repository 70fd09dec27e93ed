//! Golden diagnostics: `cases/NAME.in.yaml` is parsed and linted, and what is printed must equal
//! `cases/NAME.out`. Set `BLESS=1` to write the outputs anew, then read the difference.

use std::fs;
use std::path::Path;

use mcpf_rules::{Code, lint, load_file, parse};

#[test]
fn diagnostics_read_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".in.yaml").map(str::to_owned))
        .collect();
    cases.sort();
    assert!(cases.len() >= 10);
    let mut wrong = Vec::new();
    for case in cases {
        let text = fs::read_to_string(dir.join(format!("{case}.in.yaml"))).unwrap();
        let file = format!("{case}.yaml");
        let found = parse(&text, &file).map_or_else(|found| found, |rules| lint(&rules));
        let printed: String = found.iter().map(|one| format!("{one}\n")).collect();
        let path = dir.join(format!("{case}.out"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &printed).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if printed != expected {
            wrong.push(format!("--- {case}\n{printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_over_the_limit_is_refused_unparsed() {
    let text = format!("version: 1\nrules: []\n#{}", "x".repeat(1 << 20));
    let found = parse(&text, "big.yaml").unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found.iter().all(|one| one.code == Code::File));
}

#[test]
fn a_missing_file_is_a_diagnostic() {
    let found = load_file(Path::new("no/such/file.yaml")).unwrap_err();
    assert!(
        found
            .iter()
            .all(|one| one.code == Code::File && one.line == 0)
    );
}
