//! A client on stdio, played by the test.

use mcpf_bridge::{Connect, ConnectError, connect};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::soon;

pub(crate) struct Agent {
    stdin: Option<DuplexStream>,
    stdout: Option<Lines<BufReader<DuplexStream>>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ConnectError>>,
}

impl Agent {
    pub(crate) fn start(options: Connect) -> Self {
        Self::with_pipe(options, 1 << 20)
    }

    /// With so many bytes on their way at most, each way.
    pub(crate) fn with_pipe(options: Connect, size: usize) -> Self {
        let (stdin, input) = tokio::io::duplex(size);
        let (output, stdout) = tokio::io::duplex(size);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::task::spawn_local(async move {
            let stopped = async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            connect(options, input, output, stopped).await
        });
        Self {
            stdin: Some(stdin),
            stdout: Some(BufReader::new(stdout).lines()),
            stop: Some(stop),
            running,
        }
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.write(&format!("{message}\n")).await;
    }

    pub(crate) async fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        soon(stdin.write_all(text.as_bytes())).await.unwrap();
    }

    /// Writes in a task of its own, for what may not be read at once.
    pub(crate) fn write_aside(&mut self, text: String) -> JoinHandle<DuplexStream> {
        let mut stdin = self.stdin.take().unwrap();
        tokio::task::spawn_local(async move {
            stdin.write_all(text.as_bytes()).await.unwrap();
            stdin
        })
    }

    pub(crate) async fn hear(&mut self) -> Value {
        let line = soon(self.line()).await.expect("the output has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(crate) async fn line(&mut self) -> Option<String> {
        self.stdout.as_mut().unwrap().next_line().await.unwrap()
    }

    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn turn_away(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// What `connect` returned, and what else it said.
    pub(crate) async fn ended(mut self) -> (Result<(), ConnectError>, Vec<Value>) {
        let mut rest = Vec::new();
        if self.stdout.is_some() {
            while let Some(line) = soon(self.line()).await {
                rest.push(serde_json::from_str(&line).unwrap());
            }
        }
        (soon(&mut self.running).await.unwrap(), rest)
    }
}
