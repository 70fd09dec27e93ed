//! The generator against the built-in upstream: every request is answered, and rightly.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use mcpf_load::{
    Campaign, Endpoint, Failure, Kind, LoadError, Pace, Plan, Stop, Target, Upstream, measure,
};

fn upstream(workers: usize) -> (Upstream, Endpoint) {
    let upstream =
        Upstream::start((Ipv4Addr::LOCALHOST, 0).into(), workers.try_into().unwrap()).unwrap();
    let endpoint = Endpoint::new(upstream.address(), Upstream::PATH);
    (upstream, endpoint)
}

fn plan(endpoint: Endpoint, pace: Pace) -> Plan {
    Plan {
        endpoint,
        headers: vec!["X-Test: 1".parse().unwrap()],
        connections: 8.try_into().unwrap(),
        threads: 2.try_into().unwrap(),
        pace,
        size: 3_000,
        arguments: 100,
        duration: Duration::from_millis(300),
    }
}

#[test]
fn a_closed_loop_is_answered_whole() {
    let (upstream, endpoint) = upstream(2);
    let own = Some(std::process::id());
    let tally = measure(&plan(endpoint, Pace::Closed), own, &Stop::default()).unwrap();
    assert!(tally.sent > 8);
    assert_eq!(tally.sent, tally.answered, "{:?}", tally.examples);
    assert_eq!((tally.failed(), tally.unsent), (0, 0));
    assert!(tally.costs.gateway.is_some() && tally.costs.resident.is_some());
    drop(upstream);
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let (_upstream, endpoint) = upstream(1);
    let rate = Pace::Open(1_000.try_into().unwrap());
    let tally = measure(&plan(endpoint, rate), None, &Stop::default()).unwrap();
    assert_eq!(tally.sent + tally.unsent, 300);
    assert_eq!(tally.sent, tally.answered, "{:?}", tally.examples);
    assert_eq!(tally.failed(), 0);
}

#[test]
fn a_campaign_has_a_row_for_each_load_and_target() {
    let (_upstream, endpoint) = upstream(1);
    let target = |kind: Kind| Target {
        kind,
        name: kind.as_str().into(),
        endpoint: endpoint.clone(),
        process: None,
    };
    let campaign = Campaign {
        sizes: vec![10, 20_000],
        arguments: 5_000,
        paces: vec![Pace::Closed, Pace::Open(200.try_into().unwrap())],
        connections: 3.try_into().unwrap(),
        threads: 1.try_into().unwrap(),
        time: Duration::from_millis(200),
        rounds: 2.try_into().unwrap(),
        headers: Vec::new(),
    };
    let mut parts = 0;
    let rows = campaign
        .run(
            &[target(Kind::Direct), target(Kind::Gateway)],
            &Stop::default(),
            &mut |progress| {
                assert_eq!((progress.done, progress.of), (parts, 16));
                parts += 1;
            },
        )
        .unwrap();
    assert_eq!((rows.len(), parts), (8, 16));
    for row in rows {
        assert!(row.tally.answered > 0);
        assert_eq!(
            row.tally.sent, row.tally.answered,
            "{:?}",
            row.tally.examples
        );
    }
}

#[test]
fn stopping_ends_it_early() {
    let (_upstream, endpoint) = upstream(1);
    let stop = Stop::default();
    let mut long = plan(endpoint, Pace::Closed);
    long.duration = Duration::from_secs(600);
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure(&long, None, &stop));
        std::thread::sleep(Duration::from_millis(300));
        stop.set();
        assert!(matches!(
            measured.join().unwrap(),
            Err(LoadError::Interrupted)
        ));
    });
}

#[test]
fn what_is_no_server_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plan = plan(Endpoint::new(closed, "/mcp"), Pace::Closed);
    let error = measure(&plan, None, &Stop::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot be measured: no_connection"),
        "{error}"
    );
}

/// Answers the greeting and the warm-up rightly, and then wrongly or not at all.
fn failing(good: usize, then: &'static [u8]) -> Endpoint {
    let (upstream, endpoint) = upstream(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Kept until the test ends.
        let _upstream = upstream;
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = std::net::TcpStream::connect(endpoint.address()).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                let mut answered = 0;
                loop {
                    let count = client.read(&mut buffer).unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    if answered == good {
                        let _gone = client.write_all(then);
                        if then.is_empty() {
                            std::thread::sleep(Duration::from_secs(30));
                        }
                        continue;
                    }
                    answered += 1;
                    server.write_all(&buffer[..count]).unwrap();
                    let count = server.read(&mut buffer).unwrap();
                    client.write_all(&buffer[..count]).unwrap();
                }
            });
        }
    });
    Endpoint::new(address, Upstream::PATH)
}

/// Requests of the greeting and the warm-up.
const READY: usize = 23;

#[test]
fn failures_are_counted_by_kind() {
    let endpoint = failing(READY, b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy");
    let mut plan = plan(endpoint, Pace::Open(100.try_into().unwrap()));
    plan.size = 10;
    let tally = measure(&plan, None, &Stop::default()).unwrap();
    let failures: Vec<(Failure, u64)> = tally.failures().collect();
    assert_eq!(failures, [(Failure::Status, 30)]);
    assert_eq!((tally.sent, tally.answered), (30, 0));
    assert_eq!(tally.examples[0], "bad_status: 503 busy");
}

#[test]
fn what_hangs_is_unanswered_and_what_waits_for_it_unsent() {
    let mut plan = plan(failing(READY, b""), Pace::Open(100.try_into().unwrap()));
    plan.size = 10;
    let tally = measure(&plan, None, &Stop::default()).unwrap();
    let failures: Vec<(Failure, u64)> = tally.failures().collect();
    assert_eq!(failures, [(Failure::Unanswered, 8)]);
    assert_eq!((tally.sent, tally.unsent), (8, 22));
}
