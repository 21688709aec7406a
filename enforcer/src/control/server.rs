//! The server half: HTTP to [`Asked`], answers to responses.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{
    ConnectInfo, DefaultBodyLimit, Extension, FromRequestParts, Path, Query, Request, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use bytes::Bytes;
use serde::Deserialize;

use super::access::{Access, Refusals, Role};
use super::board::{Board, stopping};
use super::body::{JSON, Refusal, bad_body, bad_query, guard, parse};
use super::connections;
pub use super::connections::Limits;
use super::limits::{Budget, limits};
use super::listen::Socket;
use super::patient::Follows;
use super::queue::{Rank, Ticket};
use super::stream::Stream;
use super::{Body, Inputs, MAX_BODY};
use crate::api::{ErrorCode, PolicyBundle};
use crate::events::hub::{Hub, Seat};
use crate::events::subscription::Subscription;
use crate::metrics;
use crate::request::{Peer, Question, Request as Asked};
use crate::shown::escaped;

#[derive(Clone, Debug)]
struct Core {
    inputs: Inputs,
    hub: Hub,
    refusals: Arc<Refusals>,
    board: Board,
}

/// Answers requests until `stop` resolves. Then it closes the hub, finishes pending answers within
/// two seconds, and removes the socket.
pub async fn serve(
    socket: Socket,
    access: Access,
    limits: Limits,
    inputs: Inputs,
    hub: Hub,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let Socket { listener, place: _place } = socket;
    let (refusals, board) = (Arc::default(), Board::new(inputs.clone()));
    let budget = Budget::new(limits.answer);
    let router = router(Core { inputs, hub: hub.clone(), refusals, board }, budget);
    let stop = async move {
        stop.await;
        hub.close();
    };
    connections::run(listener, router, access, limits, stop).await;
}

fn router(core: Core, budget: Budget) -> Router {
    let needs = |role| middleware::from_fn_with_state((role, core.clone()), authorise);
    // Every new route has to choose a role.
    let for_viewers = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/devices", get(devices))
        .route("/v1/flows", get(flows))
        .route("/v1/rules", get(rules))
        .route("/v1/history", get(history))
        .route("/v1/policy", get(policy_show))
        .route("/v1/explain", post(explain))
        .route("/v1/explain/frames", post(explain_frames))
        .route("/v1/events", get(events))
        .route("/v1/metrics", get(scrape));
    let for_operators = Router::new()
        .route("/v1/policy", put(apply))
        .route("/v1/live", post(change))
        .route("/v1/live/{id}", delete(revoke))
        .route("/v1/confirm", post(confirm))
        .route("/v1/rollback", post(rollback))
        .route("/v1/detach", post(detach))
        .route_layer(needs(Role::Operator));
    for_viewers
        .merge(for_operators)
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(budget, limits))
        .layer(needs(Role::Viewer))
        .with_state(core)
}

type Answer = Result<Response, Refusal>;

impl Core {
    /// Sends an input to the core and waits for the reply.
    async fn ask(&self, asker: Asker, asked: Asked) -> Answer {
        let answer = self.inputs.reply(Rank::of(asker.role), asker.ticket, asked).await;
        let (status, body) = match answer.map_err(|_| stopping())?? {
            Body::Done(body) => (StatusCode::OK, body),
            Body::Refused(body) => (StatusCode::UNPROCESSABLE_ENTITY, body),
        };
        Ok((status, [(CONTENT_TYPE, JSON)], body).into_response())
    }

    /// The answer to a question that many clients may ask at once.
    async fn look(&self, role: Role, question: Question, kind: &'static str) -> Answer {
        let body = self.board.ask(Rank::of(role), question).await?;
        Ok(([(CONTENT_TYPE, kind)], body).into_response())
    }
}

/// The sender of a request, and whether it has started.
struct Asker {
    role: Role,
    ticket: Ticket,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let role = parts.extensions.get().copied().unwrap_or(Role::Nobody);
        let ticket = parts.extensions.get().cloned().unwrap_or_default();
        Ok(Self { role, ticket })
    }
}

async fn status(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::Status, JSON).await
}

async fn devices(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::Devices, JSON).await
}

async fn flows(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::Flows, JSON).await
}

async fn rules(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::Rules, JSON).await
}

async fn history(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::History, JSON).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    revision: Option<u64>,
}

async fn policy_show(
    State(core): State<Core>,
    Extension(role): Extension<Role>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let question = query.revision.map_or(Question::Policy, Question::Revision);
    core.look(role, question, "application/toml").await
}

async fn scrape(State(core): State<Core>, Extension(role): Extension<Role>) -> Answer {
    core.look(role, Question::Metrics, metrics::CONTENT_TYPE).await
}

/// Parameters that a plain TOML body cannot carry.
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
    asker: Asker,
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
    core.ask(asker, Asked::Apply { bundle, peer }).await
}

async fn change(
    State(core): State<Core>,
    asker: Asker,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request = parse(body)?;
    core.ask(asker, Asked::Change { request, peer }).await
}

async fn revoke(
    State(core): State<Core>,
    asker: Asker,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let guard = guard(body)?;
    core.ask(asker, Asked::Revoke { id, guard, peer }).await
}

async fn confirm(
    State(core): State<Core>,
    asker: Asker,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer {
    core.ask(asker, Asked::Confirm { peer }).await
}

/// The revision to roll back to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackQuery {
    revision: Option<u64>,
}

async fn rollback(
    State(core): State<Core>,
    asker: Asker,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<RollbackQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Query(RollbackQuery { revision }) = query.map_err(bad_query)?;
    let guard = guard(body)?;
    core.ask(asker, Asked::Rollback { revision, guard, peer }).await
}

async fn explain(
    State(core): State<Core>,
    asker: Asker,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request = parse(body)?;
    core.ask(asker, Asked::Explain(request)).await
}

async fn explain_frames(
    State(core): State<Core>,
    asker: Asker,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request = parse(body)?;
    core.ask(asker, Asked::ExplainFrames(request)).await
}

async fn detach(
    State(core): State<Core>,
    asker: Asker,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer {
    core.ask(asker, Asked::Detach { peer }).await
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
        Refusal::new(ErrorCode::TooManyFollowers, full, hint)
    })?;
    follows.set();
    log::debug!("{peer} follows the events");
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], axum::body::Body::new(Stream(follower)))
        .into_response())
}

async fn no_such_path(request: Request) -> Refusal {
    Refusal::usage(StatusCode::NOT_FOUND, format!("there is no {}", request.uri().path()))
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Refusal::usage(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not support {method}"))
}

/// Enforces the role of a route; refusals go into the audit trail.
async fn authorise(
    State((needed, core)): State<(Role, Core)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(role): Extension<Role>,
    request: Request,
    next: Next,
) -> Answer {
    if role >= needed {
        return Ok(next.run(request).await);
    }
    let request = format!("{} {}", request.method(), request.uri().path());
    if let Some(count) = core.refusals.count(peer.uid, Instant::now()) {
        log::warn!("{} is refused to {peer}", escaped(&request));
        // The core may be busy; then the log has it.
        core.inputs.note(Asked::Refused { peer, request: request.clone(), count });
    }
    let (error, hint) = match needed {
        Role::Operator => ("is for operators", "`operator_group` in enforcer.toml names them"),
        Role::Nobody | Role::Viewer => {
            ("is for viewers and operators", "`viewer_group` in enforcer.toml names them")
        }
    };
    let error = format!("{request} {error}");
    Err(Refusal::new(ErrorCode::Forbidden, error, Some(hint)))
}

#[cfg(test)]
mod tests;
