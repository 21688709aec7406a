//! Connections: limits on their number and duration, and refusals beyond them.
//!
//! No user can lock out another: each user's connections are limited, root has its own, and each
//! connection has to send its request and take the answer in time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::access::{Access, Role, groups};
use super::patient::{Follows, Patient};
use super::{Peer, accounts};
use crate::api::{ErrorCode, Failure};
use crate::shown::escaped;

/// Time for running requests when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted: the next attempt would fail the same way.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
const MAX_FIELDS: usize = 64;
/// Refused connections that are told the reason at the same time.
const REFUSALS: usize = 16;
/// Time for that.
const REFUSAL: Duration = Duration::from_secs(2);
/// Least time between log lines about refused connections.
const ONE_LINE: Duration = Duration::from_secs(10);

/// How many connections there may be, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of all users together; those of root do not count.
    pub all: usize,
    /// Connections of all viewers together; operators have the rest.
    pub viewers: usize,
    /// Connections of one user, root included.
    pub each: usize,
    /// Time for the head of a request, also from the last answer to the next request.
    pub head: Duration,
    /// Time in which a peer has to take some part of its answer, or of the events that it follows.
    pub stalled: Duration,
    /// Time for a request to arrive and to begin, and then once more for its end; following events is not
    /// limited.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [head, stalled, answer] = [5, 30, 60].map(Duration::from_secs);
        Self { all: 256, viewers: 192, each: 64, head, stalled, answer }
    }
}

/// Accepts connections until `stop` resolves, then finishes pending answers within two seconds.
pub(super) async fn run(
    listener: UnixListener,
    router: Router,
    access: Access,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Slots::default();
    let refused = Arc::new(Semaphore::new(REFUSALS));
    let hung_up = Arc::default();
    let mut said: Option<Instant> = None;
    let mut warn = |text: String| {
        if said.is_none_or(|said| said.elapsed() >= ONE_LINE) {
            log::warn!("{text}");
            said = Some(Instant::now());
        }
    };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                warn(format!("the control socket cannot accept a connection: {e}"));
                tokio::select! {
                    () = &mut stop => break,
                    () = sleep(PAUSE) => continue,
                }
            }
        };
        let peer = Peer::of(&stream);
        let role = access.role(&peer, groups(&stream).ok().as_deref());
        let slot = match slots.take(&peer, role, limits) {
            Ok(slot) => slot,
            Err(refusal) => {
                warn(format!("{peer} is refused: {}", refusal.error));
                // If there is no slot left, the peer is not told the reason.
                if let Ok(place) = Arc::clone(&refused).try_acquire_owned() {
                    tokio::spawn(async move {
                        let _ = timeout(REFUSAL, refuse(stream, &refusal)).await;
                        drop(place);
                    });
                }
                continue;
            }
        };
        let follows = Follows::default();
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let router = router.layer(Extension(role)).layer(Extension(follows.clone()));
        let hung_up = Arc::clone(&hung_up);
        let limit = limits.stalled;
        let io = Patient { stream, peer, limit, follows, hung_up, stalled: None };
        let io = TokioIo::new(io);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head);
        http.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
        let connection =
            graceful.watch(http.serve_connection(io, TowerToHyperService::new(router)));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(e) = connection.await {
                log::debug!("{peer}: the connection broke: {e}");
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}

/// Refuses a request once it has arrived, and keeps reading until the peer closes: a peer that is
/// still writing when the connection breaks would not see the answer.
async fn refuse(mut stream: UnixStream, refusal: &Failure) -> io::Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.ends_with(END) && seen.len() < MAX_HEAD {
        let length = stream.read(&mut buffer).await?;
        let got = buffer.get(..length).unwrap_or_default();
        if got.is_empty() {
            return Ok(());
        }
        seen.extend_from_slice(got);
        if let Some(at) = seen.windows(END.len()).position(|window| window == END) {
            seen.truncate(at + END.len());
        }
    }
    let body = serde_json::to_string(refusal)? + "\n";
    let head =
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// The end of a request's head.
const END: &[u8] = b"\r\n\r\n";

/// Connections by user, with the process that opened each.
#[derive(Clone, Debug, Default)]
struct Slots(Arc<Mutex<HashMap<u32, Vec<Owner>>>>);

/// The owner of a connection: the process, if the kernel provides it, and the role.
type Owner = (Option<i32>, Role);

/// A connection slot, freed when it is dropped.
#[derive(Debug)]
struct Slot {
    uid: u32,
    owner: Owner,
    slots: Slots,
}

impl Slots {
    /// # Errors
    ///
    /// Why there is no slot, for the peer.
    fn take(&self, peer: &Peer, role: Role, limits: Limits) -> Result<Slot, Failure> {
        let Peer { uid, pid, .. } = *peer;
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = users.get(&uid).map_or(&[][..], Vec::as_slice);
        if own.len() >= limits.each {
            let name = accounts::user(uid)
                .map_or(format!("uid {uid}"), |name| escaped(&name).into_owned());
            return Err(too_many(format!(
                "{name} has {} open, the most that one user may have{}",
                own.len(),
                busiest(own)
            )));
        }
        let others = users.iter().filter(|(uid, _)| **uid != 0);
        let all: usize = others.clone().map(|(_, pids)| pids.len()).sum();
        if uid != 0 && all >= limits.all {
            return Err(too_many(format!(
                "{} users have {all} open, the most that all but root may have",
                others.count()
            )));
        }
        let looks = |(_, role): &&Owner| *role < Role::Operator;
        let viewers = users.values().flatten().filter(looks).count();
        if role < Role::Operator && viewers >= limits.viewers {
            return Err(too_many(format!(
                "viewers have {viewers} open, the most that viewers may have"
            )));
        }
        let owner = (pid, role);
        users.entry(uid).or_default().push(owner);
        Ok(Slot { uid, owner, slots: self.clone() })
    }
}

/// The process with the most connections.
fn busiest(owners: &[Owner]) -> String {
    let mut counts: HashMap<i32, usize> = HashMap::new();
    let pids = owners.iter().filter_map(|(pid, _)| *pid);
    pids.for_each(|pid| *counts.entry(pid).or_default() += 1);
    let busiest = counts.into_iter().max_by_key(|&(pid, count)| (count, pid));
    busiest.map(|(pid, count)| format!("; process {pid} has {count} of them")).unwrap_or_default()
}

fn too_many(whose: String) -> Failure {
    Failure {
        error: format!("too many connections to the daemon: {whose}"),
        hint: Some(
            "end what hangs or leaks, such as an `enforcer tail` whose output is not read".into(),
        ),
        code: ErrorCode::Busy,
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut users = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pids) = users.get_mut(&self.uid) {
            if let Some(at) = pids.iter().position(|owner| *owner == self.owner) {
                pids.swap_remove(at);
            }
            if pids.is_empty() {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_the_share_of_another() {
        let (slots, limits) = (Slots::default(), Limits { all: 5, each: 3, ..Limits::default() });
        let peer = |uid, pid| Peer { uid, gid: uid, pid: Some(pid) };
        let take = |uid, n| {
            let places =
                (0..n).map_while(|_| slots.take(&peer(uid, 7), Role::Operator, limits).ok());
            places.collect::<Vec<_>>()
        };
        let first = take(1, 9);
        assert_eq!((first.len(), take(2, 9).len()), (3, 2));
        let second = take(2, 9);
        assert_eq!((second.len(), take(3, 9).len(), take(0, 9).len()), (2, 0, 3));
        drop(first);
        assert_eq!(take(3, 9).len(), 3);
        drop(second);
        assert!(slots.0.lock().unwrap().is_empty());
    }

    #[test]
    fn viewers_leave_room_for_operators() {
        let limits = Limits { all: 5, viewers: 3, each: 2, ..Limits::default() };
        let slots = Slots::default();
        let take = |uid, role| slots.take(&Peer { uid, gid: 0, pid: None }, role, limits);
        let viewers: Vec<_> =
            (1..9).flat_map(|uid| [uid; 2]).map_while(|uid| take(uid, Role::Viewer).ok()).collect();
        assert_eq!(viewers.len(), 3);
        let error = take(9, Role::Nobody).unwrap_err().error;
        assert!(error.contains("viewers have 3 open"), "{error}");
        assert!(take(9, Role::Operator).is_ok());
    }

    #[test]
    fn a_refusal_says_how_many_there_are_and_whose() {
        let (slots, limits) = (Slots::default(), Limits { all: 5, each: 3, ..Limits::default() });
        let take =
            |uid, pid| slots.take(&Peer { uid, gid: 0, pid: Some(pid) }, Role::Operator, limits);
        let _root: Vec<_> = [7, 8, 7].map(|pid| take(0, pid).unwrap()).into();
        assert_eq!(
            take(0, 9).unwrap_err().error,
            "too many connections to the daemon: root has 3 open, the most that one user may have; \
             process 7 has 2 of them"
        );
        // These users do not exist, so they have no names.
        let _others: Vec<_> = [(u32::MAX, 1), (u32::MAX, 1), (u32::MAX, 1), (u32::MAX - 1, 1)]
            .into_iter()
            .chain([(u32::MAX - 1, 1)])
            .map(|(uid, pid)| take(uid, pid).unwrap())
            .collect();
        let error = take(u32::MAX, 2).unwrap_err().error;
        assert!(error.contains("uid 4294967295 has 3 open"), "{error}");
        let error = take(u32::MAX - 1, 2).unwrap_err().error;
        assert!(error.contains("2 users have 5 open, the most that all but root"), "{error}");
    }
}
