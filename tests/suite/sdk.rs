//! Real servers and real clients: what they can do directly they can do through the firewall.

mod client;
mod http;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::Dir;
use client::{Client, Fixtures, Server};

/// The same operations directly and through the firewall: the outcomes are equal, one by one.
fn compare(server: &Server, clients: &[Client], prepare: &dyn Fn(), operations: &Value) {
    let Some(fixtures) = Fixtures::installed() else {
        return;
    };
    for &client in clients {
        prepare();
        let direct = fixtures.run(client, &server.plan(&fixtures, operations));
        prepare();
        let wrapped = fixtures.run_wrapped(client, &server.plan(&fixtures, operations));
        same(client, server.name, operations, &direct, &wrapped);
    }
}

/// Most of it works, and what comes directly comes through the firewall.
fn same(client: Client, server: &str, operations: &Value, direct: &[Value], wrapped: &[Value]) {
    let asked = operations.as_array().unwrap().len();
    assert_eq!(
        direct.len(),
        asked + 1,
        "{client:?} with {}: {direct:?}",
        server
    );
    let works = direct
        .iter()
        .filter(|outcome| outcome.get("result").is_some())
        .count();
    assert!(
        works * 2 > asked,
        "{client:?} with {}: most of it fails: {direct:?}",
        server
    );
    for (n, (direct, wrapped)) in direct.iter().zip(wrapped).enumerate() {
        let operation = n.checked_sub(1).map(|n| &operations[n]);
        assert!(
            direct == wrapped,
            "{client:?} with {}: {operation:?}\ndirect  {}\nwrapped {}",
            server,
            client::shown(direct),
            client::shown(wrapped),
        );
    }
    assert_eq!(direct.len(), wrapped.len());
}

/// Through the firewall only: each outcome as text, for operations that it must stop or change.
fn outcomes(server: &Server, client: Client, operations: &Value) -> Option<Vec<String>> {
    let fixtures = Fixtures::installed()?;
    let all = fixtures.run_wrapped(client, &server.plan(&fixtures, operations));
    assert_eq!(
        all.len(),
        operations.as_array().unwrap().len() + 1,
        "{all:?}"
    );
    Some(all.iter().skip(1).map(Value::to_string).collect())
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "op": "callTool", "name": tool, "arguments": arguments })
}

fn assert_blocked(outcome: &str) {
    assert!(outcome.contains("Blocked by mcp-firewall"), "{outcome}");
}

/// A key that nobody has: not one of the documented examples, which are no secrets.
const AWS_KEY: &str = "AKIAQ7T5JXWK2MVPL3NZ";

/// What the everything server can do.
fn everything() -> Value {
    let sums: Vec<Value> = (0..20)
        .map(|n| json!({ "name": "get-sum", "arguments": { "a": n, "b": 0.5 } }))
        .collect();
    json!([
        { "op": "ping" },
        { "op": "listTools" },
        { "op": "listResources" },
        { "op": "listPrompts" },
        call("echo", &json!({ "message": "grüße \u{1F44B} \u{2028} \"quoted\" \\ tab\t" })),
        call("echo", &json!({ "message": "long ".repeat(20_000) })),
        call("get-sum", &json!({ "a": 2, "b": 40 })),
        call("get-sum", &json!({ "a": "not a number" })),
        call("no-such-tool", &json!({})),
        { "op": "parallel", "calls": sums },
        call("get-tiny-image", &json!({})),
        call("get-annotated-message", &json!({ "messageType": "success", "includeImage": true })),
        call("get-structured-content", &json!({ "location": "Chicago" })),
        call("get-resource-links", &json!({ "count": 4 })),
        call("get-resource-reference", &json!({ "resourceType": "Blob", "resourceId": -2 })),
        call("get-roots-list", &json!({})),
        call("trigger-sampling-request", &json!({ "prompt": "say something", "maxTokens": 5 })),
        call("trigger-elicitation-request", &json!({})),
        {
            "op": "progress", "name": "trigger-long-running-operation",
            "arguments": { "duration": 0.4, "steps": 4 },
        },
        { "op": "readResource", "uri": "demo://resource/static/document/architecture.md" },
        { "op": "readResource", "uri": "demo://resource/static/document/features.md" },
        { "op": "readResource", "uri": "demo://nowhere" },
        { "op": "getPrompt", "name": "simple-prompt" },
        { "op": "getPrompt", "name": "args-prompt", "arguments": { "city": "Oslo", "state": "none" } },
        { "op": "getPrompt", "name": "no-such-prompt" },
    ])
}

#[test]
fn the_everything_server_does_everything() {
    let server = Server::node("server-everything", &["stdio"]);
    let operations = everything();
    compare(&server, &Client::ALL, &|| {}, &operations);
    let attack = json!([
        call(
            "echo",
            &json!({ "message": "http://169.254.169.254/latest/meta-data/iam" })
        ),
        call(
            "echo",
            &json!({ "message": format!("the key is {AWS_KEY}") })
        ),
        call("echo", &json!({ "message": "plain" })),
    ]);
    for client in Client::ALL {
        let Some(outcomes) = outcomes(&server, client, &attack) else {
            return;
        };
        assert_blocked(&outcomes[0]);
        assert!(!outcomes[1].contains(AWS_KEY), "{}", outcomes[1]);
        assert!(outcomes[2].contains("plain"));
    }
}

#[test]
fn the_filesystem_server_reads_and_writes() {
    let dir = Dir::new();
    let root = dir.join("root");
    let prepare = || {
        let _new = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("sub/deeper")).unwrap();
        std::fs::create_dir_all(root.join(".ssh")).unwrap();
        std::fs::write(root.join("a.txt"), "one\ntwo\nthree\n").unwrap();
        std::fs::write(root.join("sub/b.json"), "{\"b\": 1}").unwrap();
        std::fs::write(
            root.join("sub/deeper/big.txt"),
            "All work and no play.\n".repeat(60_000),
        )
        .unwrap();
        std::fs::write(root.join(".ssh/id_ed25519"), "canary of a key").unwrap();
        std::fs::write(root.join("aws.txt"), format!("id = {AWS_KEY} # mine\n")).unwrap();
    };
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let mut server = Server::node("server-filesystem", &[]);
    server.args.push(path(""));
    let operations = json!([
        { "op": "listTools" },
        { "op": "listResources" },
        call("list_allowed_directories", &json!({})),
        call("read_text_file", &json!({ "path": path("a.txt") })),
        call("read_text_file", &json!({ "path": path("a.txt"), "head": 1 })),
        call("read_text_file", &json!({ "path": path("sub/deeper/big.txt") })),
        call("read_text_file", &json!({ "path": path("missing.txt") })),
        call("read_text_file", &json!({ "path": "/etc/hostname" })),
        call("read_multiple_files", &json!({ "paths": [path("a.txt"), path("sub/b.json"), path("nothing")] })),
        call("write_file", &json!({ "path": path("new.txt"), "content": "naïve \"text\"\n" })),
        call("edit_file", &json!({ "path": path("a.txt"), "edits": [{ "oldText": "two", "newText": "2" }] })),
        call("create_directory", &json!({ "path": path("made") })),
        call("move_file", &json!({ "source": path("new.txt"), "destination": path("made/new.txt") })),
        call("list_directory", &json!({ "path": path("") })),
        call("directory_tree", &json!({ "path": path("sub") })),
        call("search_files", &json!({ "path": path(""), "pattern": "**/*.json" })),
        { "op": "parallel", "calls": [
            { "name": "read_text_file", "arguments": { "path": path("a.txt") } },
            { "name": "list_directory", "arguments": { "path": path("sub") } },
            { "name": "read_text_file", "arguments": { "path": path("made/new.txt") } },
        ] },
    ]);
    compare(&server, &Client::ALL, &prepare, &operations);
    prepare();
    let attack = json!([
        call(
            "read_text_file",
            &json!({ "path": path(".ssh/id_ed25519") })
        ),
        call(
            "read_text_file",
            &json!({ "path": path("sub/../.ssh//id_ed25519") })
        ),
        call(
            "read_multiple_files",
            &json!({ "paths": [path("a.txt"), path(".ssh/id_ed25519")] })
        ),
        call("read_text_file", &json!({ "path": path("aws.txt") })),
        call("read_text_file", &json!({ "path": path("a.txt") })),
    ]);
    for client in Client::ALL {
        let Some(outcomes) = outcomes(&server, client, &attack) else {
            return;
        };
        for blocked in &outcomes[..3] {
            assert_blocked(blocked);
            assert!(!blocked.contains("canary"));
        }
        assert!(!outcomes[3].contains(AWS_KEY), "{}", outcomes[3]);
        assert!(
            outcomes[3].contains("[REDACTED:") && outcomes[3].contains("# mine"),
            "{}",
            outcomes[3]
        );
        assert!(outcomes[4].contains("three"));
    }
}

#[test]
fn the_memory_server_remembers() {
    let dir = Dir::new();
    let file = dir.join("memory.jsonl");
    let mut server = Server::node("server-memory", &[]);
    server
        .env
        .insert("MEMORY_FILE_PATH".to_owned(), json!(file));
    let prepare = || {
        let _new = std::fs::remove_file(&file);
    };
    let ada = json!({ "name": "Ada", "entityType": "person", "observations": ["wrote programs"] });
    let engine = json!({ "name": "Engine", "entityType": "machine", "observations": [] });
    let relation = json!({ "from": "Ada", "to": "Engine", "relationType": "describes" });
    let operations = json!([
        { "op": "listTools" },
        { "op": "listResources" },
        call("create_entities", &json!({ "entities": [ada, engine] })),
        call("create_relations", &json!({ "relations": [relation] })),
        call("add_observations", &json!({ "observations": [{ "entityName": "Ada", "contents": ["born 1815"] }] })),
        call("add_observations", &json!({ "observations": [{ "entityName": "Nobody", "contents": ["x"] }] })),
        call("search_nodes", &json!({ "query": "programs" })),
        call("open_nodes", &json!({ "names": ["Engine"] })),
        { "op": "readResource", "uri": "memory://knowledge-graph" },
        call("delete_entities", &json!({ "entityNames": ["Engine"] })),
        call("read_graph", &json!({})),
    ]);
    compare(&server, &Client::ALL, &prepare, &operations);
    let spy =
        json!({ "name": "Key", "entityType": "secret", "observations": [format!("id {AWS_KEY}")] });
    let attack = json!([
        call("create_entities", &json!({ "entities": [spy] })),
        call("read_graph", &json!({})),
        call(
            "search_nodes",
            &json!({ "query": "/home/u/.aws/credentials" })
        ),
    ]);
    for client in Client::ALL {
        prepare();
        let Some(outcomes) = outcomes(&server, client, &attack) else {
            return;
        };
        for outcome in &outcomes {
            assert!(!outcome.contains(AWS_KEY), "{outcome}");
        }
        assert_blocked(&outcomes[2]);
    }
}

#[test]
fn the_time_server_tells_the_time() {
    let server = Server::python("mcp-server-time", &["--local-timezone", "UTC"]);
    let parallel: Vec<Value> = ["Europe/Oslo", "Asia/Tokyo", "America/Lima"]
        .iter()
        .map(|zone| json!({ "name": "get_current_time", "arguments": { "timezone": zone } }))
        .collect();
    let convert = |time: &str| json!({ "source_timezone": "Asia/Tokyo", "target_timezone": "Europe/Oslo", "time": time });
    let operations = json!([
        { "op": "listTools" },
        call("get_current_time", &json!({ "timezone": "UTC" })),
        call("get_current_time", &json!({ "timezone": "Mars/Olympus" })),
        call("convert_time", &convert("16:30")),
        call("convert_time", &convert("25:99")),
        call("convert_time", &json!({})),
        { "op": "parallel", "calls": parallel },
    ]);
    compare(&server, &Client::ALL, &|| {}, &operations);
    compare(&server, &[Client::PythonLegacy], &|| {}, &operations);
    let attack = json!([call(
        "get_current_time",
        &json!({ "timezone": "../../home/u/.ssh/id_rsa" })
    )]);
    for client in Client::ALL {
        let Some(outcomes) = outcomes(&server, client, &attack) else {
            return;
        };
        assert_blocked(&outcomes[0]);
    }
}

#[test]
fn the_git_server_keeps_a_history() {
    let dir = Dir::new();
    let repository = dir.join("repository");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&repository)
            .args(args)
            .envs(DATES)
            .env("HOME", dir.path());
        assert!(command.output().unwrap().status.success(), "git {args:?}");
    };
    let prepare = || {
        let _new = std::fs::remove_dir_all(&repository);
        std::fs::create_dir(&repository).unwrap();
        git(&["init", "--quiet", "--initial-branch", "main"]);
        git(&["config", "user.name", "Suite"]);
        git(&["config", "user.email", "suite@localhost"]);
        std::fs::write(repository.join("a.txt"), "one\n").unwrap();
        git(&["add", "a.txt"]);
        git(&["commit", "--quiet", "-m", "Begin"]);
        std::fs::write(repository.join("a.txt"), "one\ntwo\n").unwrap();
    };
    let mut server = Server::python("mcp-server-git", &["--repository"]);
    server.args.push(repository.to_str().unwrap().to_owned());
    server.env.extend(
        DATES
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value))),
    );
    let at = |mut more: Value| {
        more["repo_path"] = json!(repository);
        more
    };
    let operations = json!([
        { "op": "listTools" },
        call("git_status", &at(json!({}))),
        call("git_diff_unstaged", &at(json!({}))),
        call("git_add", &at(json!({ "files": ["a.txt"] }))),
        call("git_diff_staged", &at(json!({}))),
        call("git_commit", &at(json!({ "message": "Go on" }))),
        call("git_log", &at(json!({ "max_count": 5 }))),
        call("git_show", &at(json!({ "revision": "HEAD" }))),
        call("git_create_branch", &at(json!({ "branch_name": "side" }))),
        call("git_branch", &at(json!({ "branch_type": "local" }))),
        call("git_status", &json!({ "repo_path": "/nonexistent" })),
        call("git_log", &json!({})),
    ]);
    compare(&server, &Client::ALL, &prepare, &operations);
}

const DATES: [(&str, &str); 2] = [
    ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z"),
    ("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z"),
];
