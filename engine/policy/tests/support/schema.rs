//! A small JSON Schema validator: enough of draft 2020-12 for our own schemas, and it refuses
//! every keyword it does not know, so that a schema cannot promise what no test checks.

use serde_json::Value;

/// Every way in which `value` does not fit `schema`.
pub(crate) fn mistakes(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return found.push(format!("{path}: nothing is allowed here")),
            _ => panic!("{path}: a schema must be an object or a boolean"),
        }
    };
    for (keyword, rule) in keywords {
        let fits = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" => true,
            "additionalProperties" | "properties" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("no {pointer}"));
                check(root, target, value, path, found);
                true
            }
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_a(kind, value)),
                kind => is_a(kind, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "minLength" => text_length(value).is_none_or(|n| n >= rule.as_u64().unwrap()),
            "maxLength" => text_length(value).is_none_or(|n| n <= rule.as_u64().unwrap()),
            "minItems" => items(value).is_none_or(|n| n >= rule.as_u64().unwrap()),
            "maxItems" => items(value).is_none_or(|n| n <= rule.as_u64().unwrap()),
            "minProperties" => entries(value).is_none_or(|n| n >= rule.as_u64().unwrap()),
            "maxProperties" => entries(value).is_none_or(|n| n <= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| {
                regex::Regex::new(rule.as_str().unwrap())
                    .unwrap()
                    .is_match(text)
            }),
            "required" => value.as_object().is_none_or(|object| {
                let mut keys = rule.as_array().unwrap().iter();
                keys.all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{path}[{i}]"), found);
                }
                true
            }
            "anyOf" | "oneOf" => {
                let fitting = rule.as_array().unwrap().iter().filter(|option| {
                    let mut own = Vec::new();
                    check(root, option, value, path, &mut own);
                    own.is_empty()
                });
                match keyword.as_str() {
                    "oneOf" => fitting.count() == 1,
                    _ => fitting.count() > 0,
                }
            }
            other => panic!("{path}: the validator does not know `{other}`"),
        };
        if !fits {
            found.push(format!("{path}: does not fit `{keyword}: {rule}`"));
        }
    }
    properties(root, schema, value, path, found);
}

fn properties(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        return;
    };
    for (key, item) in object {
        let here = format!("{path}.{key}");
        if let Some(known) = schema.get("properties").and_then(|p| p.get(key)) {
            check(root, known, item, &here, found);
        } else if let Some(rest) = schema.get("additionalProperties") {
            check(root, rest, item, &here, found);
        }
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn text_length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn items(value: &Value) -> Option<u64> {
    value.as_array().map(|items| items.len() as u64)
}

fn entries(value: &Value) -> Option<u64> {
    value.as_object().map(|object| object.len() as u64)
}
