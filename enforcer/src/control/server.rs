//! The server half: requests to [`Input`], answers to responses.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::access::{Access, Refusals, Role, needed};
use super::body::{Refusal, bad_body, bad_query, guard, json, parse, too_large};
pub use super::connections::Limits;
use super::connections::{self, Follows};
use super::hub::{Hub, Seat};
use super::listen::Socket;
use super::subscription::Subscription;
use super::{Input, Inputs, MAX_BODY, Peer};
use crate::api::{ApplyReport, PolicyBundle};
use crate::exit::Exit;
use crate::metrics;

/// Time for a request to arrive and be answered; following events has no limit.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest body in bytes that needs no turn, and that a viewer may send.
const MAX_SMALL: usize = 64 << 10;
/// Larger bodies that are received at the same time: their bytes stay in memory until they are read.
const MAX_LARGE: usize = 2;

#[derive(Clone, Debug)]
struct Core {
    inputs: Inputs,
    hub: Hub,
    refusals: Arc<Refusals>,
    large: Arc<Semaphore>,
}

/// Answers requests until `stop` resolves. Then it closes the hub, finishes what is being answered
/// within two seconds, and removes the socket.
pub async fn serve(
    socket: Socket,
    access: Access,
    limits: Limits,
    inputs: Inputs,
    hub: Hub,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let Socket { listener, place: _place } = socket;
    let (refusals, large) = (Arc::default(), Arc::new(Semaphore::new(MAX_LARGE)));
    let router = router(Core { inputs, hub: hub.clone(), refusals, large });
    let stop = async move {
        stop.await;
        hub.close();
    };
    connections::run(listener, router, access, limits, stop).await;
}

fn router(core: Core) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/devices", get(devices))
        .route("/v1/rules", get(rules))
        .route("/v1/history", get(history))
        .route("/v1/policy", get(policy_show).put(apply))
        .route("/v1/live", post(change))
        .route("/v1/live/{id}", delete(revoke))
        .route("/v1/confirm", post(confirm))
        .route("/v1/rollback", post(rollback))
        .route("/v1/explain", post(explain))
        .route("/v1/explain/frames", post(explain_frames))
        .route("/v1/detach", post(detach))
        .route("/v1/events", get(events))
        .route("/v1/metrics", get(scrape))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(core.clone(), limits))
        .layer(middleware::from_fn_with_state(core.clone(), authorise))
        .with_state(core)
}

type Answer = Result<Response, Refusal>;

impl Core {
    /// Sends an input to the core and waits for the reply.
    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Refusal::new(status, "the daemon is stopping", None, Exit::NotRunning)
        };
        self.inputs.send(input(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

async fn status(State(core): State<Core>) -> Answer {
    core.ask(Input::Status).await.map(|status| json(&status))
}

async fn devices(State(core): State<Core>) -> Answer {
    core.ask(Input::Devices).await.map(|rows| json(&rows))
}

async fn rules(State(core): State<Core>) -> Answer {
    core.ask(Input::Rules).await.map(|rows| json(&rows))
}

async fn history(State(core): State<Core>) -> Answer {
    core.ask(Input::History).await.map(|rows| json(&rows))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    revision: Option<u64>,
}

async fn policy_show(
    State(core): State<Core>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let document = match query.revision {
        Some(revision) => core.ask(|reply| Input::Revision { revision, reply }).await??,
        None => core.ask(Input::PolicyShow).await??,
    };
    Ok(([(CONTENT_TYPE, "application/toml")], document).into_response())
}

async fn scrape(State(core): State<Core>) -> Answer {
    let text = core.ask(Input::Metrics).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// What a plain TOML body cannot say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyQuery {
    #[serde(default)]
    dry_run: bool,
    confirm: Option<u32>,
    #[serde(default)]
    force: bool,
    file: Option<String>,
}

async fn apply(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let bundle = if kind.starts_with("application/toml") {
        let body = body.map_err(bad_body)?;
        let text = std::str::from_utf8(&body)
            .map_err(|e| Refusal::usage(StatusCode::BAD_REQUEST, e))?
            .to_owned();
        let file = query.file.unwrap_or_else(|| "policy.toml".to_owned());
        let ApplyQuery { dry_run, confirm, force, .. } = query;
        PolicyBundle { file, text, dry_run, confirm, force, ..PolicyBundle::default() }
    } else {
        parse::<PolicyBundle>(body)?
    };
    let report = core.ask(|reply| Input::Apply { bundle, peer, reply }).await??;
    let status =
        if is_refused(&report) { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, json(&report)).into_response())
}

fn is_refused(report: &ApplyReport) -> bool {
    report.problems.iter().any(|problem| problem.severity == "error")
}

async fn change(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request = parse(body)?;
    let report = core.ask(|reply| Input::Change { request, peer, reply }).await??;
    Ok(json(&report))
}

async fn revoke(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let guard = guard(body)?;
    let report = core.ask(|reply| Input::Revoke { id, guard, peer, reply }).await??;
    Ok(json(&report))
}

async fn confirm(State(core): State<Core>, ConnectInfo(peer): ConnectInfo<Peer>) -> Answer {
    let decided = core.ask(|reply| Input::Confirm { peer, reply }).await??;
    Ok(json(&decided))
}

/// Where to roll back to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackQuery {
    revision: Option<u64>,
}

async fn rollback(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<RollbackQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(RollbackQuery { revision }) = query.map_err(bad_query)?;
    let guard = guard(body)?;
    let decided = core.ask(|reply| Input::Rollback { revision, guard, peer, reply }).await??;
    Ok(json(&decided))
}

async fn explain(State(core): State<Core>, body: Result<Bytes, BytesRejection>) -> Answer {
    let request = parse(body)?;
    let explanation = core.ask(|reply| Input::Explain { request, reply }).await??;
    Ok(json(&explanation))
}

async fn explain_frames(State(core): State<Core>, body: Result<Bytes, BytesRejection>) -> Answer {
    let request = parse(body)?;
    let explanations = core.ask(|reply| Input::ExplainFrames { request, reply }).await??;
    Ok(json(&explanations))
}

async fn detach(State(core): State<Core>, ConnectInfo(peer): ConnectInfo<Peer>) -> Answer {
    let detached = core.ask(|reply| Input::Detach { peer, reply }).await??;
    Ok(json(&detached))
}

async fn events(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(role): Extension<Role>,
    Extension(follows): Extension<Follows>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Answer {
    let Query(parts) = query.map_err(bad_query)?;
    let subscription =
        Subscription::from_query(&parts).map_err(|e| Refusal::usage(StatusCode::BAD_REQUEST, e))?;
    let seat = Seat::User { uid: peer.uid, operator: role == Role::Operator };
    let follower = core.hub.follow(subscription, seat).map_err(|full| {
        let hint = Some("end one of them; `ss -xp` shows who is connected");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, full, hint, Exit::Configuration)
    })?;
    follows.set();
    log::debug!("{peer} follows the events");
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::new(follower)).into_response())
}

async fn no_such_path(request: Request) -> Refusal {
    Refusal::usage(StatusCode::NOT_FOUND, format!("there is no {}", request.uri().path()))
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Refusal::usage(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
}

/// Who may only look changes nothing; the trail says who tried.
async fn authorise(
    State(core): State<Core>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(role): Extension<Role>,
    request: Request,
    next: Next,
) -> Answer {
    let needed = needed(request.method(), request.uri().path());
    if role >= needed {
        return Ok(next.run(request).await);
    }
    let request = format!("{} {}", request.method(), request.uri().path());
    if let Some(count) = core.refusals.count(peer.uid, Instant::now()) {
        log::warn!("{request} is refused to {peer}");
        // The core may be busy; then the log has it.
        let _ = core.inputs.try_send(Input::Refused { peer, request: request.clone(), count });
    }
    let (error, hint) = match needed {
        Role::Operator => ("is for operators", "`operator_group` in enforcer.toml names them"),
        Role::Nobody | Role::Viewer => {
            ("is for viewers and operators", "`viewer_group` in enforcer.toml names them")
        }
    };
    let error = format!("{request} {error}");
    Err(Refusal::new(StatusCode::FORBIDDEN, error, Some(hint), Exit::Configuration))
}

/// Time and size of a request. One that announces too much is refused before it is read; of large
/// ones a few are received at a time.
async fn limits(
    State(core): State<Core>,
    Extension(role): Extension<Role>,
    request: Request,
    next: Next,
) -> Answer {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let max = if role == Role::Operator { MAX_BODY } else { MAX_SMALL };
    let unknown = headers.contains_key(TRANSFER_ENCODING);
    if length.is_some_and(|length: u64| length > max as u64) || (unknown && max == MAX_SMALL) {
        return Err(too_large(max));
    }
    let large = unknown || length.is_some_and(|length| length > MAX_SMALL as u64);
    let work = async {
        let _turn = match large {
            true => core.large.acquire().await.ok(),
            false => None,
        };
        next.run(request).await
    };
    timeout(TIMEOUT, work).await.map_err(|_| {
        let error = format!("no answer within {} s", TIMEOUT.as_secs());
        let hint = Some("an order may still be carried out: see `enforcer status`");
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, error, hint, Exit::NotRunning)
    })
}
