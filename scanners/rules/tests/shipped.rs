//! The rules that ship: complete, clean, and true to their examples and their schema.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mcpf_rules::{FILES, builtin_rules, check_examples, lint, load_builtin, load_dir, specs};
use mcpf_scan::{Engine, Validator};
use serde_json::Value;

fn rulesets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rulesets")
}

fn lines(problems: &[impl ToString]) -> String {
    problems.iter().map(|one| one.to_string() + "\n").collect()
}

#[test]
fn the_list_equals_the_directory() {
    let mut on_disk = BTreeSet::new();
    for set in fs::read_dir(rulesets()).unwrap() {
        let set = set.unwrap();
        if set.file_type().unwrap().is_dir() {
            for file in fs::read_dir(set.path()).unwrap() {
                let name = file.unwrap().file_name();
                on_disk.insert(format!(
                    "rulesets/{}/{}",
                    set.file_name().to_string_lossy(),
                    name.to_string_lossy()
                ));
            }
        }
    }
    let listed: Vec<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(listed, on_disk.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_shipped_rule_is_clean() {
    let rules = builtin_rules().unwrap_or_else(|found| panic!("{}", lines(&found)));
    let found = lint(&rules);
    assert!(found.is_empty(), "{}", lines(&found));
    for rule in &rules {
        assert!(!rule.source.set.is_empty(), "{}", rule.id.value);
        let feed = rule.id.value.starts_with("TF-");
        assert_eq!(
            feed,
            rule.source.set.as_ref() == "feed",
            "{}",
            rule.id.value
        );
    }
}

#[test]
fn every_shipped_rule_finds_its_examples() {
    let rules = builtin_rules().unwrap_or_else(|found| panic!("{}", lines(&found)));
    let engine =
        Engine::build(specs(&rules), None).unwrap_or_else(|errors| panic!("{}", lines(&errors)));
    let failures = check_examples(&engine, &rules);
    assert!(failures.is_empty(), "{}", lines(&failures));
}

#[test]
fn the_directory_loads_as_the_builtin_rules_do() {
    let loaded = load_dir(&rulesets()).unwrap_or_else(|found| panic!("{}", lines(&found)));
    assert_eq!(specs(&loaded), load_builtin().unwrap());
}

#[test]
fn every_shipped_file_fits_the_schema() {
    let schema = schema();
    for (path, text) in FILES {
        let file: Value = serde_saphyr::from_str(text).unwrap();
        if let Err(error) = fits(&file, &schema, &schema) {
            panic!("{path}: {error}");
        }
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = schema();
    let rule = |extra: &str| {
        format!(
            "version: 1\nrules:\n  - id: SEC-X-001\n    name: x\n    family: secret\n    severity: high\n    \
             description: x\n    direction: both\n    patterns: [abcd]\n    examples: [abcd]\n    \
             negative_examples: [abc]\n{extra}"
        )
    };
    let good = rule("");
    for (yaml, good) in [
        (good.clone(), true),
        (
            rule("    validators: [luhn, { entropy: 3 }, { min_digits: 2 }]\n"),
            true,
        ),
        (good.replace("SEC-X-001", "SEC-X-1"), false),
        (good.replace("high", "hot"), false),
        (good.replace("version: 1", "version: 2"), false),
        (rule("    surfaces: [prompt]\n"), false),
        (rule("    paranoia: 5\n"), false),
        (rule("    colour: red\n"), false),
        (rule("    validators: [{ entropy: 9 }]\n"), false),
        (rule("    validators: [magic]\n"), false),
    ] {
        let file: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(
            fits(&file, &schema, &schema).is_ok(),
            good,
            "schema: {yaml}"
        );
        assert_eq!(
            mcpf_rules::parse(&yaml, "x.yaml").is_ok(),
            good,
            "parser: {yaml}"
        );
    }
}

#[test]
fn the_schema_names_every_validator() {
    let text = fs::read_to_string(rulesets().join("schema.json")).unwrap();
    for name in Validator::NAMES {
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}

fn schema() -> Value {
    let text = fs::read_to_string(rulesets().join("schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The part of JSON Schema the schema file uses; a keyword it does not know fails the test.
fn fits(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{why}: {value}"));
    let count = |limit: &Value| usize::try_from(limit.as_u64().unwrap()).unwrap();
    for (keyword, limit) in schema.as_object().unwrap() {
        let good = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer = limit.as_str().unwrap().strip_prefix('#').unwrap();
                fits(value, root.pointer(pointer).unwrap(), root)?;
                true
            }
            "type" => match limit.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64(),
                "number" => value.is_number(),
                other => panic!("type {other}"),
            },
            "const" => value == limit,
            "enum" => limit.as_array().unwrap().contains(value),
            "oneOf" => {
                let fitting = limit
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|one| fits(value, one, root).is_ok());
                fitting.count() == 1
            }
            "required" => limit
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = limit.get(key) {
                        fits(inner, schema, root).map_err(|error| format!("{key}: {error}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(limit, &Value::Bool(false));
                let known = schema["properties"].as_object().unwrap();
                value
                    .as_object()
                    .is_none_or(|map| map.keys().all(|key| known.contains_key(key)))
            }
            "items" => {
                for inner in value.as_array().into_iter().flatten() {
                    fits(inner, limit, root)?;
                }
                true
            }
            "minItems" => value
                .as_array()
                .is_none_or(|list| list.len() >= count(limit)),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() >= count(limit)),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() <= count(limit)),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= limit.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= limit.as_f64().unwrap()),
            "pattern" => {
                let regex = regex::Regex::new(limit.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| regex.is_match(text))
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !good {
            return fail(keyword);
        }
    }
    Ok(())
}
