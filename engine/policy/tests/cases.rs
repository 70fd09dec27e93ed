//! Golden diagnostics: each `cases/*.in.yaml` is refused with exactly `cases/*.out`.
//!
//! `UPDATE_CASES=1 cargo test -p mcpf-policy --test cases` writes the outputs anew.

use std::fs;
use std::path::Path;

use mcpf_policy::Plan;

#[test]
fn diagnostics_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".in.yaml") else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let found = Plan::parse(&text, "policy.yaml").unwrap_err();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        let found = lines.join("\n") + "\n";
        let out = folder.join(format!("{stem}.out"));
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&out, &found).unwrap();
        }
        let wanted = fs::read_to_string(&out).unwrap_or_default();
        assert_eq!(found, wanted, "{stem}");
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} cases");
}
