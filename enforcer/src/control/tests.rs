//! Server and client over a real socket, with a core that knows all answers.
// tidy: long because every case needs the same core

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::access::Access;
use super::body::encode;
use super::client::{Client, Error};
use super::listen::{self, Socket};
use super::{Body, Input, MAX_BODY, Queue, queue, server};
use crate::api::Exit;
use crate::api::{
    ApplyReport, Detached, DeviceRow, ErrorCode, ExplainRequest, Explanation, Failure, FlowList,
    PolicyBundle, PolicyStatus, ProblemReport, Status,
};
use crate::events::Event;
use crate::events::event::tests::{event, refusal};
use crate::events::event::{ReasonName, Refusal, SLOW_READER};
use crate::events::filter::Filter;
use crate::events::filter::tests::filter;
use crate::events::hub::{Hub, MAX_EACH, MAX_LINES, MAX_ROOT};
use crate::fault::Fault as _;
use crate::request::{Peer, Question, Request};

struct Daemon {
    dir: tempfile::TempDir,
    hub: Hub,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    core: JoinHandle<()>,
}

impl Daemon {
    fn start() -> Self {
        Self::with(server::Limits {
            head: Duration::from_millis(300),
            stalled: Duration::from_millis(300),
            ..server::Limits::default()
        })
    }

    fn with(limits: server::Limits) -> Self {
        Self::with_core(limits, |mut queue| async move {
            while let Some((_, input)) = queue.next().await {
                reply(input);
            }
        })
    }

    fn with_core<C: Future<Output = ()> + Send + 'static>(
        limits: server::Limits,
        core: impl FnOnce(Queue) -> C,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&dir.path().join("e.sock"), None).unwrap();
        let (inputs, queue) = queue(8);
        let (stop, stopped) = oneshot::channel();
        let hub = Hub::new();
        let access = Access::default();
        let stopped = async {
            let _ = stopped.await;
        };
        let server =
            tokio::spawn(server::serve(socket, access, limits, inputs, hub.clone(), stopped));
        let core = tokio::spawn(core(queue));
        Self { dir, hub, stop, server, core }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("e.sock")
    }

    fn client(&self) -> Client {
        Client::new(&self.socket())
    }
}

fn reply(Input { request, reply }: Input) {
    let answer = match request {
        Request::Ask(question) => match question {
            Question::Status => encode(&status()),
            Question::Devices => {
                encode(&[DeviceRow { group: "pumps".into(), ..DeviceRow::default() }])
            }
            Question::Flows => encode(&FlowList::default()),
            Question::Rules | Question::History => Ok(Bytes::from("[]\n").into()),
            Question::Policy => Ok(Bytes::from("schema = 1\n").into()),
            Question::Revision(revision) => Ok(Bytes::from(format!("# {revision}\n")).into()),
            Question::Metrics => Ok(Bytes::from("enforcer_up 1\n").into()),
        },
        Request::Apply { bundle, peer } => apply(&bundle, peer).and_then(|report| {
            let is_refused = report.problems.iter().any(|problem| problem.severity == "error");
            let body = encode(&report)?;
            Ok(if is_refused { Body::Refused(body.bytes()) } else { body })
        }),
        Request::Explain(request) if request.from == "nobody" => {
            let error = "there is no device `nobody`".to_owned();
            Err(Failure { error, hint: None, code: ErrorCode::BadRequest })
        }
        Request::Explain(_) => {
            encode(&Explanation { verdict: "drop".into(), ..Explanation::default() })
        }
        Request::Detach { peer } => encode(&Detached { removed: vec![peer.to_string()] }),
        Request::Refused { .. }
        | Request::Change { .. }
        | Request::Revoke { .. }
        | Request::Confirm { .. }
        | Request::Rollback { .. }
        | Request::ExplainFrames(_) => unreachable!("no test asks for it"),
    };
    // Whoever asked may have gone.
    let _ = reply.send(answer);
}

/// A bundle that says `refuse` has an error, one that says `kernel` fails later.
fn apply(bundle: &PolicyBundle, peer: Peer) -> Result<ApplyReport, Failure> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    assert_eq!(peer.uid, unsafe { libc::geteuid() });
    assert_eq!(peer.pid, Some(std::process::id().cast_signed()));
    let mut report = ApplyReport { revision: 7, ..ApplyReport::default() };
    match bundle.text.as_str() {
        "refuse" => report.problems.push(ProblemReport {
            severity: "error".into(),
            file: bundle.file.clone(),
            line: 1,
            column: 1,
            message: "no".into(),
            hint: None,
        }),
        "kernel" => {
            let error = "the kernel refused the program".to_owned();
            return Err(Failure { error, hint: Some("h".into()), code: ErrorCode::Kernel });
        }
        _ => report.applied = !bundle.dry_run,
    }
    Ok(report)
}

fn status() -> Status {
    Status {
        enforcing: true,
        version: "0".into(),
        pid: 1,
        started: "2026-11-23T12:00:00+01:00".into(),
        policy: PolicyStatus {
            file: "policy.toml".into(),
            revision: 7,
            generation: 9,
            digest: "d".into(),
            since: "2026-11-23T12:00:00+01:00".into(),
            groups: 1,
            devices: 1,
            rules: 1,
            image_bytes: 64,
        },
        interfaces: Vec::new(),
        reasons: Vec::new(),
        groups: Vec::new(),
        live: Vec::new(),
        confirm_until: None,
        warnings: Vec::new(),
    }
}

fn bundle(text: &str) -> PolicyBundle {
    PolicyBundle { file: "policy.toml".into(), text: text.into(), ..PolicyBundle::default() }
}

/// One request as `curl` would make it; the whole answer.
async fn raw(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn parse(lines: &[u8]) -> Vec<Event> {
    let lines = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.expect("in time")
}

#[tokio::test]
async fn questions_and_answers() {
    let daemon = Daemon::start();
    let client = daemon.client();
    assert_eq!(client.status().await.unwrap(), status());
    assert_eq!(client.devices().await.unwrap()[0].group, "pumps");
    assert_eq!(client.rules().await.unwrap(), []);
    assert_eq!(client.policy().await.unwrap(), "schema = 1\n");
    assert_eq!(client.revision(6).await.unwrap(), "# 6\n");
    assert_eq!(client.history().await.unwrap(), []);
    assert_eq!(client.metrics().await.unwrap(), "enforcer_up 1\n");
    assert!(client.detach().await.unwrap().removed[0].starts_with("uid "));

    let mut request = ExplainRequest {
        from: "bed-12".into(),
        mac: None,
        to: "192.0.2.1:443".into(),
        proto: "tcp".into(),
        interface: None,
        vlan: None,
        inbound: false,
    };
    assert_eq!(client.explain(&request).await.unwrap().verdict, "drop");
    request.from = "nobody".into();
    let error = client.explain(&request).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("there is no device `nobody`", Exit::Usage)
    );
}

#[tokio::test]
async fn a_policy_is_applied_or_refused() {
    let daemon = Daemon::start();
    let client = daemon.client();
    assert!(client.apply(&bundle("")).await.unwrap().applied);
    let dry = PolicyBundle { dry_run: true, ..bundle("") };
    assert!(!client.apply(&dry).await.unwrap().applied);

    let refused = client.apply(&bundle("refuse")).await.unwrap();
    assert!(!refused.applied);
    assert_eq!(refused.problems.len(), 1);

    let error = client.apply(&bundle("kernel")).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Kernel);
    assert_eq!(error.hint().as_deref(), Some("h"));
}

#[tokio::test]
async fn a_refused_policy_is_422_and_toml_is_taken_as_it_is() {
    let daemon = Daemon::start();
    let put = |query: &str, text: &str| {
        format!(
            "PUT /v1/policy{query} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\
             content-type: application/toml\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let answer = raw(&daemon.socket(), &put("?file=a.toml", "refuse")).await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.contains("\"file\":\"a.toml\""), "{answer}");
    let answer = raw(&daemon.socket(), &put("?dry_run=true", "schema = 1")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\"applied\":false"), "{answer}");
    let answer = raw(&daemon.socket(), &put("", "schema = 1")).await;
    assert!(answer.contains("\"applied\":true"), "{answer}");
}

#[tokio::test]
async fn what_makes_no_sense_is_a_failure_in_json() {
    let daemon = Daemon::start();
    for (request, status) in [
        ("GET /v2/status", 404),
        ("DELETE /v1/status", 405),
        ("GET /v1/events?to=nowhere", 400),
        ("GET /v1/events?colour=red", 400),
        ("POST /v1/explain", 400),
    ] {
        let text = format!("{request} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n");
        let answer = raw(&daemon.socket(), &text).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let failure: Failure = serde_json::from_str(body.trim()).unwrap();
        assert_eq!(failure.code, ErrorCode::BadRequest, "{request}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_unread() {
    let daemon = Daemon::start();
    let request = format!(
        "PUT /v1/policy HTTP/1.1\r\nhost: e\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        MAX_BODY + 1
    );
    let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut chunk) = (String::new(), [0; 1024]);
    while !answer.contains("larger than 64 MiB") {
        let n = soon(stream.read(&mut chunk)).await.unwrap();
        assert!(n > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let error = daemon.client().apply(&bundle(&"x".repeat(MAX_BODY))).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge), "{error:?}");
}

#[tokio::test]
async fn a_large_policy_fits() {
    let daemon = Daemon::start();
    let text = "\"2001:db8:ffff::/48\",\n".repeat(1_000_000);
    assert!(soon(daemon.client().apply(&bundle(&text))).await.unwrap().applied);
}

#[tokio::test]
async fn a_stalled_follower_loses_its_own_lines_and_is_told() {
    let daemon = Daemon::with(server::Limits::default());
    let client = daemon.client();
    let mut stalled = client.events(&Filter::default()).await.unwrap();
    let mut reader = client.events(&Filter::default()).await.unwrap();

    // More than fits in the socket, hyper's buffers and the queue together.
    let total = MAX_LINES as u64 * 40;
    let (mut read, mut sent, mut lost) = (0, 0, 0);
    for n in 0..total {
        daemon.hub.publish(Event::Drop(Refusal { suppressed: n, ..refusal() }.into()));
        sent += 1;
        if sent % 100 == 0 {
            while read < sent {
                let lines = soon(reader.next()).await.unwrap().unwrap();
                for event in parse(&lines) {
                    let number = event.refusal().map(|refusal| refusal.suppressed);
                    assert_eq!(number, Some(read), "the reader misses nothing");
                    read += 1;
                }
            }
        }
    }

    daemon.hub.close();
    let (mut got, mut last) = (0, None);
    while let Some(lines) = soon(stalled.next()).await.unwrap() {
        for event in parse(&lines) {
            if let Some(refusal) = event.refusal() {
                assert!(last < Some(refusal.suppressed), "in order");
                last = Some(refusal.suppressed);
                got += 1;
            } else {
                assert_eq!(event.reason(), Some(&ReasonName::of(SLOW_READER)));
                lost += event.count();
            }
        }
    }
    assert!(lost > 0);
    assert_eq!(got + lost, total, "every line was delivered or counted");
}

#[tokio::test]
async fn a_filter_travels() {
    let daemon = Daemon::start();
    let filter = filter(&[("device", "bed 12 & co"), ("to", "202.114.4.0/24")]);
    let mut events = daemon.client().events(&filter).await.unwrap();
    daemon.hub.publish(event());
    let device = Some("bed 12 & co".into());
    let wanted = Event::Drop(Refusal { device, ..refusal() }.into());
    daemon.hub.publish(wanted.clone());
    let lines = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(parse(&lines), [wanted]);
}

#[tokio::test]
async fn followers_are_limited_and_forgotten_when_they_leave() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let mut followers = Vec::new();
    let failure = loop {
        match client.events(&Filter::default()).await {
            Ok(events) => followers.push(events),
            Err(Error::Refused(failure)) => break failure,
            Err(error) => panic!("{error:?}"),
        }
    };
    // Root has more places than others.
    assert!([MAX_EACH, MAX_ROOT].contains(&followers.len()), "{}", followers.len());
    assert!(failure.error.contains("follow the events already"), "{failure:?}");
    followers.clear();
    soon(async {
        while daemon.hub.is_followed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_daemon_sees_the_first() {
    let daemon = Daemon::start();
    let path = daemon.socket();
    assert!(matches!(Socket::bind(&path, None), Err(listen::Error::InUse(_))));
    let inode = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(daemon.client().status().await.unwrap(), status());
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
}

#[tokio::test]
async fn a_stop_ends_streams_and_removes_the_socket() {
    let daemon = Daemon::start();
    let mut events = daemon.client().events(&Filter::default()).await.unwrap();
    let path = daemon.socket();
    daemon.stop.send(()).unwrap();
    assert!(soon(events.next()).await.unwrap().is_none());
    soon(daemon.server).await.unwrap();
    soon(daemon.core).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_core_that_died_is_said_to_have_stopped() {
    let daemon = Daemon::start();
    daemon.core.abort();
    let error = soon(daemon.client().status()).await.unwrap_err();
    let Error::Refused(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.code, ErrorCode::Stopping);
}

/// A request that timed out has either started and is carried out, or never will be.
#[tokio::test]
async fn what_runs_out_of_time_says_whether_it_takes_effect() {
    let limits = server::Limits { answer: Duration::from_millis(500), ..server::Limits::default() };
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (go, gate) = oneshot::channel::<()>();
    let daemon = Daemon::with_core(limits, |mut queue| async move {
        let mut gate = Some(gate);
        while let Some((_, input)) = queue.next().await {
            let Input { request: Request::Apply { bundle, .. }, reply: _reply } = input else {
                panic!("{input:?}")
            };
            begun.send(bundle.file).unwrap();
            if let Some(gate) = gate.take() {
                let _ = gate.await;
            }
        }
    });
    let apply = |file: &str| {
        let client = daemon.client();
        let bundle = PolicyBundle { file: file.into(), ..bundle("") };
        tokio::spawn(async move { client.apply(&bundle).await })
    };
    let first = apply("first");
    assert_eq!(soon(begins.recv()).await.as_deref(), Some("first"));
    let late = apply("late");
    // A request whose client disconnects is not started either.
    let gone = apply("gone");
    tokio::time::sleep(Duration::from_millis(100)).await;
    gone.abort();
    for (order, said) in
        [(late, "was not started and changes nothing"), (first, "has started and will be")]
    {
        let Err(Error::Refused(failure)) = soon(order).await.unwrap() else { panic!("no answer") };
        assert!(failure.error.contains(said), "{failure:?}");
        assert_eq!(failure.code, ErrorCode::Timeout);
    }
    go.send(()).unwrap();
    let last = apply("last");
    assert_eq!(soon(begins.recv()).await.as_deref(), Some("last"));
    assert!(soon(last).await.unwrap().is_err());
}

#[tokio::test]
async fn silent_and_incomplete_requests_are_disconnected() {
    let daemon = Daemon::start();
    for part in ["", "GET /v1/status HTT", "GET /v1/status HTTP/1.1\r\nhost: e\r\nx: "] {
        let answer = soon(raw(&daemon.socket(), part)).await;
        assert!(!answer.contains(" 200 "), "{part:?}: {answer}");
    }
    // And a client that sends nothing more after an answer.
    let request = "GET /v1/metrics HTTP/1.1\r\nhost: e\r\n\r\n";
    let answer = soon(raw(&daemon.socket(), request)).await;
    assert!(answer.contains("enforcer_up 1"), "{answer}");
    assert_eq!(daemon.client().metrics().await.unwrap(), "enforcer_up 1\n");
}

#[tokio::test]
async fn a_follower_that_reads_nothing_is_hung_up() {
    let daemon = Daemon::start();
    let mut stalled = daemon.client().events(&Filter::default()).await.unwrap();
    let mut reader = daemon.client().events(&Filter::default()).await.unwrap();
    soon(async {
        while daemon.hub.followers() > 1 {
            daemon.hub.publish(event());
            let _ = timeout(Duration::from_millis(1), reader.next()).await;
        }
    })
    .await;
    // Earlier events can be read, and then the stream breaks: this is not a regular end of the
    // daemon.
    soon(async {
        loop {
            match stalled.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cut stream is no end"),
                Err(_) => break,
            }
        }
    })
    .await;
    daemon.hub.publish(event());
    assert!(soon(reader.next()).await.unwrap().is_some(), "others follow on");
}

#[tokio::test]
async fn unread_answers_are_disconnected_unless_they_are_events() {
    let daemon = Daemon::start();
    let mut stalled = UnixStream::connect(daemon.socket()).await.unwrap();
    let request = "GET /v1/status HTTP/1.1\r\nhost: e\r\n\r\n".repeat(100);
    let flood = async { while stalled.write_all(request.as_bytes()).await.is_ok() {} };
    soon(flood).await;

    let mut follower = daemon.client().events(&Filter::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    daemon.hub.publish(event());
    assert!(soon(follower.next()).await.unwrap().is_some(), "following may be quiet");
}

#[tokio::test]
async fn one_too_many_learns_why_each_time() {
    let limits = server::Limits { head: Duration::from_secs(60), ..server::Limits::default() };
    let (daemon, each) = (Daemon::with(limits), limits.each);
    let mut open = Vec::new();
    for _ in 0..each {
        open.push(UnixStream::connect(daemon.socket()).await.unwrap());
    }
    // They are accepted in order, and a large request is refused like a small one.
    let text = "x".repeat(4 << 20);
    let bundle = PolicyBundle { text, ..PolicyBundle::default() };
    for large in [false, true].repeat(10) {
        let client = daemon.client();
        let error = match large {
            true => soon(client.apply(&bundle)).await.unwrap_err(),
            false => soon(client.status()).await.unwrap_err(),
        };
        let Error::Refused(failure) = error else { panic!("{error:?}") };
        let text = format!("has {each} open, the most that one user may have; process ");
        assert!(failure.error.contains(&text), "{failure:?}");
        assert_eq!(failure.code, ErrorCode::Busy);
    }
    open.pop();
    while soon(daemon.client().status()).await.is_err() {}
}
