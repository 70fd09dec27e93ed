//! Both halves, back to back: stdio to HTTP, and HTTP to stdio again.

use std::time::Duration;

use mcpf_bridge::{Connect, Target};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

use crate::agent::Agent;
use crate::socket::Offer;
use crate::{call, initialize, initialized, modern, note, request, result, run, soon};

/// Both halves, with a plain pipe from one to the other.
async fn both() -> (Agent, Offer) {
    let offer = Offer::start(&[], |options| {
        options.timeouts.grace = Duration::from_millis(200);
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let socket = offer.socket();
    tokio::task::spawn_local(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let socket = socket.clone();
            tokio::task::spawn_local(async move {
                if let Ok(mut far) = UnixStream::connect(socket).await {
                    let _gone = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    let options = Connect::new(Target::parse(&url).unwrap());
    (Agent::start(options), offer)
}

#[test]
fn a_session_there_and_back() {
    run(async {
        let (mut agent, offer) = both().await;
        agent.say(&initialize(0)).await;
        assert_eq!(agent.hear().await["params"]["data"], "early");
        let welcome = agent.hear().await;
        assert_eq!(welcome["id"], 0);
        agent.say(&initialized()).await;
        let mut progress = call("p", "progress", json!({}));
        progress["params"]["_meta"] = json!({ "progressToken": "t" });
        agent.say(&progress).await;
        let heard = [agent.hear().await, agent.hear().await, agent.hear().await];
        assert_eq!(
            heard[1]["params"],
            json!({ "progressToken": "t", "progress": 1 })
        );
        assert_eq!(heard[2], result("p", json!({})));
        agent
            .say(&call(1, "ask", json!({ "method": "roots/list" })))
            .await;
        let question = agent.hear().await;
        assert_eq!(question["method"], "roots/list");
        agent.say(&result(0, json!({ "roots": [] }))).await;
        let answer = agent.hear().await;
        assert_eq!(answer["id"], 1);
        assert_eq!(
            answer["result"]["answered"],
            result(0, json!({ "roots": [] }))
        );
        // Many at once, each answered once.
        for id in 10..60 {
            agent.say(&call(id, "echo", json!({ "n": id }))).await;
        }
        let mut left: Vec<i64> = (10..60).collect();
        while !left.is_empty() {
            let answer = agent.hear().await;
            let id = answer["id"].as_i64().unwrap();
            assert_eq!(answer["result"]["got"]["n"], id);
            left.retain(|other| *other != id);
        }
        // They came to the server in the order in which they were said.
        let seen: Vec<Value> = offer.trace();
        let seen = seen
            .iter()
            .filter_map(|m| m["params"]["arguments"]["n"].as_i64());
        assert!(seen.eq(10..60));
        agent.close();
        let (outcome, rest) = agent.ended().await;
        outcome.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        let pid = welcome["result"]["serverInfo"]["version"].as_str().unwrap();
        let path = format!("/proc/{pid}");
        soon(async {
            while std::path::Path::new(&path).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        offer.end().await;
    });
}

#[test]
fn without_sessions_there_and_back() {
    run(async {
        let (mut agent, offer) = both().await;
        let discover = request("d", "server/discover", modern(json!({})));
        agent.say(&discover).await;
        assert_eq!(agent.hear().await["id"], "d");
        let listen = request("l", "subscriptions/listen", modern(json!({})));
        agent.say(&listen).await;
        let acknowledged = agent.hear().await;
        assert_eq!(
            acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "l"
        );
        let hang = modern(json!({ "name": "hang", "arguments": {} }));
        agent.say(&request(1, "tools/call", hang)).await;
        let sent = offer.traced(|m| m["params"]["name"] == "hang").await;
        let cancel = note("notifications/cancelled", json!({ "requestId": 1 }));
        agent.say(&cancel).await;
        let cancelled = offer
            .traced(|m| m["method"] == "notifications/cancelled")
            .await;
        assert_eq!(cancelled["params"]["requestId"], sent["id"]);
        let echo = modern(json!({ "name": "echo", "arguments": {} }));
        agent.say(&request(1, "tools/call", echo)).await;
        assert_eq!(agent.hear().await["id"], 1);
        agent.stop();
        let (outcome, rest) = agent.ended().await;
        outcome.unwrap();
        // The subscription, which ends here.
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0]["id"], "l");
        offer.end().await;
    });
}
