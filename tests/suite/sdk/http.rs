//! The same over HTTP, and from one transport to the other.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, json};

use super::client::{Client, Fixtures, Plan, Server};
use super::{call, everything, same};
use crate::support::{PATIENCE, Proxy, Wrap, eventually};

/// A real server that listens.
struct Listening {
    child: Child,
    url: String,
}

impl Listening {
    /// The everything server, speaking `transport` at `path`.
    fn start(fixtures: &Fixtures, transport: &str, path: &str) -> Self {
        let server = Server::node("server-everything", &[transport]);
        let plan = server.plan(fixtures, &json!([]));
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(&plan.command)
            .args(&plan.args)
            .env("PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let this = Self {
            child,
            url: format!("http://{address}{path}"),
        };
        assert!(eventually(PATIENCE, || TcpStream::connect(address).is_ok()));
        this
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _gone = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ended = self.child.wait();
    }
}

fn through_the_proxy(transport: &str, path: &str) {
    let Some(fixtures) = Fixtures::installed() else {
        return;
    };
    let server = Listening::start(&fixtures, transport, path);
    let operations = everything();
    for client in Client::ALL {
        let direct = fixtures.run(client, &Plan::at(&server.url, &operations));
        let gateway = Proxy::of(&server.url).start();
        let url = format!("http://{}{path}", gateway.address);
        let through = fixtures.run(client, &Plan::at(&url, &operations));
        same(client, &server.url, &operations, &direct, &through);
        let attack = json!([call(
            "echo",
            &json!({ "message": "cat /home/u/.ssh/id_rsa" })
        )]);
        let refused = fixtures.run(client, &Plan::at(&url, &attack));
        super::assert_blocked(&refused[1].to_string());
        gateway.stop();
    }
}

#[test]
fn clients_do_over_streamable_http_what_they_do_directly() {
    through_the_proxy("streamableHttp", "/mcp");
}

#[test]
fn clients_do_over_http_with_sse_what_they_do_directly() {
    through_the_proxy("sse", "/sse");
}

#[test]
fn a_server_on_stdio_is_offered_over_http() {
    let Some(fixtures) = Fixtures::installed() else {
        return;
    };
    let operations = everything();
    let plan = Server::node("server-everything", &["stdio"]).plan(&fixtures, &operations);
    let command = std::iter::once(&plan.command).chain(&plan.args);
    let gateway = Proxy::offering(command).start();
    let url = format!("http://{}/mcp", gateway.address);
    for client in Client::ALL {
        let direct = fixtures.run(client, &plan);
        let through = fixtures.run(client, &Plan::at(&url, &operations));
        same(client, "proxy -- CMD", &operations, &direct, &through);
    }
    gateway.stop();
}

#[test]
fn a_server_over_http_is_offered_on_stdio() {
    let Some(fixtures) = Fixtures::installed() else {
        return;
    };
    let server = Listening::start(&fixtures, "streamableHttp", "/mcp");
    let operations = everything();
    for client in Client::ALL {
        let direct = fixtures.run(client, &Plan::at(&server.url, &operations));
        let wrap = Wrap::url(&server.url);
        let through = fixtures.run_in(client, &wrap, &Map::new(), &operations);
        same(client, "wrap --url", &operations, &direct, &through);
    }
}
