//! Answers `explain`: asks the program in the kernel how it would decide.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer_common::decide::{Decision, FrameContext};
use enforcer_common::flow::{Class, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::mac;
use rtnetlink::packet_route::link::InfoKind;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::active::Active;
use super::core::Core;
use super::failure;
use super::flows::service;
use super::probe::{Probe, Probed};
use super::rows::rule_row;
use super::state::Counters;
use super::time::Dates;
use crate::api::{CapturedFrame, ErrorCode, ExplainFrames, ExplainRequest, Explanation, Failure};
use crate::backstop::forward::{self, Chain};
use crate::control::body::encode;
use crate::control::{Answer, Rank};
use crate::convert;
use crate::dataplane::{Flows, Noted};
use crate::host::{self, Kernel, Link};
use crate::image::{HostImage, Time};
use crate::policy::Host;
use crate::policy::explain::heard::Heard;
use crate::policy::explain::{self, Captured, Described, Unjudged};
use crate::policy::live::span;

/// Most frames in one request.
const MAX_FRAMES: usize = 1000;
/// Frames per test run of the active program: the core is blocked meanwhile.
const PROBED: usize = 50;
/// Most sources of captured packets for which the kernel is asked for a route.
const MAX_WAYS: usize = 64;
/// How long a listing of other tools' chains is reused.
const FILTERS_HOLD: Duration = Duration::from_secs(5);

/// The subject of a request.
pub(super) enum About {
    /// A described frame.
    One(ExplainRequest),
    /// Captured frames, in order.
    Captured(ExplainFrames),
}

impl Core {
    /// Explains frames on a separate thread.
    pub(super) fn explain(&self, rank: Rank, about: About, reply: oneshot::Sender<Answer>) {
        if let About::Captured(request) = &about
            && request.frames.len() > MAX_FRAMES
        {
            let error = format!("{} frames in one request", request.frames.len());
            let hint = Some(format!("ask about {MAX_FRAMES} at a time"));
            drop(reply.send(Err(Failure { error, hint, code: ErrorCode::BadRequest })));
            return;
        }
        let explainer = self.explainer(rank);
        tokio::spawn(async move {
            let _turn = explainer.turns.acquire().await;
            if !reply.is_closed() {
                let answers = explainer.explain(&about).await;
                drop(reply.send(answers.and_then(|mut answers| match about {
                    About::One(_) => encode(&answers.swap_remove(0)),
                    About::Captured(_) => encode(&answers),
                })));
            }
        });
    }

    fn explainer(&self, rank: Rank) -> Explainer {
        Explainer {
            kernel: self.kernel.clone(),
            names: Arc::clone(&self.engine.active),
            now: self.clock.now(),
            dates: self.clock.dates(),
            probes: self.probes.clone(),
            turns: self.aside.turns(rank),
        }
    }

    /// Runs the active program on a few frames.
    pub(super) fn probe(&mut self, probe: Probe) {
        let Probe { frames, reply } = probe;
        if reply.is_closed() {
            return;
        }
        let ask = |(frame, interface): &(Vec<u8>, u32)| {
            self.engine.dataplane.probe(frame, *interface).map_err(|e| e.to_string())
        };
        let decisions = frames.iter().map(ask).collect();
        let (generation, counters) = (self.engine.active.generation, self.engine.rule_counters());
        let flows =
            if self.needs_transmit() { self.engine.dataplane.flows() } else { Flows::default() };
        drop(reply.send(Probed { generation, decisions, counters, flows }));
    }
}

/// Explains outside the core's loop, which is asked only to run the active program.
struct Explainer {
    kernel: Kernel,
    names: Arc<Active>,
    now: Time,
    dates: Dates,
    probes: mpsc::Sender<Probe>,
    turns: Arc<Semaphore>,
}

/// A frame, and the decision of the same code outside the kernel.
struct Judged {
    described: Described,
    case: Result<FrameContext, Unjudged>,
    decided_by: &'static str,
}

impl Explainer {
    async fn explain(&self, about: &About) -> Result<Vec<Explanation>, Failure> {
        let described = match about {
            About::One(request) if request.inbound => return self.inbound(request).await,
            About::One(request) => vec![self.described(request).await?],
            About::Captured(request) => self.captured(request).await?,
        };
        let filters = self.filters().await;
        let names = Arc::clone(&self.names);
        let now = self.now;
        let judged = aside(move || {
            // One image for all frames: later fragments need the state that their first fragment left.
            let reference = HostImage::at(&names.compiled.image, now);
            let judge = |described: Described| {
                let case = explain::judge(&reference, &described);
                Judged { described, case, decided_by: "host" }
            };
            described.into_iter().map(judge).collect::<Vec<_>>()
        });
        let mut judged = judged.await?;
        let (counters, flows) = self.ask_kernel(&mut judged).await;
        let (names, dates) = (Arc::clone(&self.names), self.dates);
        aside(move || {
            judged
                .into_iter()
                .map(|judged| told(&names, (now, dates), (&counters, &flows), &filters, judged))
                .collect()
        })
        .await
    }

    async fn described(&self, request: &ExplainRequest) -> Result<Described, Failure> {
        let (policy, host) = (&self.names.policy, &self.names.host);
        let request = &convert::request(request);
        let mut heard = self.heard().await;
        if let Some(source) = explain::asked_source(policy, host, &heard, request) {
            self.kernel.hear_way(host, &mut heard, source).await;
        }
        explain::frame_heard(policy, host, &heard, request).map_err(usage)
    }

    /// A frame towards a device: decided on the host, because a test run of the program would note it.
    async fn inbound(&self, request: &ExplainRequest) -> Result<Vec<Explanation>, Failure> {
        let Active { policy, host, compiled, .. } = &*self.names;
        let (request, heard) = (&convert::request(request), self.heard().await);
        let answer = explain::inbound(policy, host, &heard, compiled, request, self.now);
        Ok(vec![convert::explanation(answer.map_err(usage)?)])
    }

    async fn captured(&self, request: &ExplainFrames) -> Result<Vec<Described>, Failure> {
        let (policy, host) = (&self.names.policy, &self.names.host);
        let mut heard = self.heard().await;
        let mut captured = Vec::new();
        for (number, frame) in (1..).zip(&request.frames) {
            let CapturedFrame { packet, length, interface, link, arrived } = frame;
            let bytes = BASE64_STANDARD.decode(packet);
            let bytes = bytes.map_err(|e| {
                usage(explain::Error::Captured { number, why: format!("packet: {e}") })
            })?;
            let (length, interface, arrived) = (*length, interface.as_deref(), *arrived);
            let link = link.unwrap_or(explain::link::ETHERNET);
            captured.push(Captured { bytes, length, interface, link, arrived });
        }
        let sources =
            captured.iter().filter_map(|frame| explain::source_of(frame.link, &frame.bytes));
        for source in sources.collect::<BTreeSet<_>>().into_iter().take(MAX_WAYS) {
            self.kernel.hear_way(host, &mut heard, source).await;
        }
        let described = (1..)
            .zip(captured)
            .map(|(number, frame)| explain::captured(policy, host, &heard, number, frame));
        described.collect::<Result<_, _>>().map_err(usage)
    }

    /// What the kernel knows about the location of devices; empty if it cannot be read.
    async fn heard(&self) -> Heard {
        let heard = self.kernel.heard(&self.names.host).await;
        heard.unwrap_or_else(|e| {
            log::warn!("{}", failure(&e.into()).error);
            Heard::default()
        })
    }

    /// Chains of other tools that may drop frames. A listing costs two runs of nft or more, so it is reused
    /// for a moment.
    async fn filters(&self) -> Filters {
        static LAST: Mutex<Option<(Instant, Vec<Chain>)>> = Mutex::new(None);
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let chains = match last {
            Some((at, chains)) if at.elapsed() < FILTERS_HOLD => chains,
            _ => {
                let chains = forward::look().await.unwrap_or_else(|e| {
                    log::debug!("chains of others are not looked at: {e}");
                    Vec::new()
                });
                let new = Some((Instant::now(), chains.clone()));
                *LAST.lock().unwrap_or_else(PoisonError::into_inner) = new;
                chains
            }
        };
        if chains.is_empty() {
            return Filters::default();
        }
        let links = self.kernel.links().await.unwrap_or_default();
        let bridge = |index: u32| {
            let mut above = links.iter().filter(|link| link.index == index);
            above.any(|link| link.kind == Some(InfoKind::Bridge))
        };
        let is_port = |link: &&Link| link.controller.is_some_and(bridge);
        let ports = links.iter().filter(is_port).map(|link| link.index).collect();
        let own = links.iter().map(|link| mac(link.mac.0)).collect();
        Filters { chains, ports, own, bridge_calls_ip: host::bridge_calls_ip() }
    }

    /// Replaces the host's decisions by those of the active program, and records who decided. The host's
    /// stay only if the kernel cannot be asked. Returns the counters of that moment, and what was open then.
    async fn ask_kernel(&self, judged: &mut [Judged]) -> (Counters, Flows) {
        let (mut counters, mut flows) = (Counters::new(), Flows::default());
        for some in judged.chunks_mut(PROBED) {
            for one in some.iter_mut() {
                if one.case.as_ref().is_ok_and(|case| case.flow.fragment != Fragment::Whole) {
                    let text =
                        "a fragment: the program in force is not asked, it would remember it";
                    one.described.assumed.push(text.into());
                }
            }
            let is_whole = |case: &FrameContext| case.flow.fragment == Fragment::Whole;
            let mut whole: Vec<_> =
                some.iter_mut().filter(|one| one.case.as_ref().is_ok_and(is_whole)).collect();
            let frames = whole.iter().map(|one| {
                let Described { frame, interface, .. } = &one.described;
                (frame.clone(), *interface)
            });
            let frames: Vec<_> = frames.collect();
            let (reply, answer) = oneshot::channel();
            // A core that is stopping does not reply: then the host's decisions stay.
            let _ = self.probes.send(Probe { frames, reply }).await;
            let Ok(probed) = answer.await else { continue };
            for (one, decision) in whole.iter_mut().zip(probed.decisions) {
                let same = probed.generation == self.names.generation;
                let decision =
                    if same { decision } else { Err("another policy is in force by now".into()) };
                one.take(decision);
            }
            (counters, flows) = (probed.counters, probed.flows);
        }
        (counters, flows)
    }
}

impl Judged {
    fn take(&mut self, decision: Result<Decision, String>) {
        match (decision, &mut self.case) {
            (Ok(decision), Ok(case)) => {
                // Neighbours may have changed between the two decisions.
                let moving = [&decision, &case.decision]
                    .iter()
                    .any(|it| it.reason == Reason::DestinationBinding);
                // Only the kernel knows what others have opened.
                let answers = case.may_answer() && decision.reason == Reason::Answer;
                if decision != case.decision && !moving && !answers {
                    log::error!("host and kernel disagree: {:?} {decision:?}", case.decision);
                }
                case.decision = decision;
                self.decided_by = "kernel";
            }
            // Not logged: a viewer could fill the log.
            (Err(e), _) => {
                self.described.assumed.push(format!("the program in force was not asked: {e}"));
            }
            (Ok(_), Err(_)) => {}
        }
    }
}

/// Runs slow work on a separate thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure {
        error: format!("the answer could not be made: {e}"),
        hint: None,
        code: ErrorCode::Kernel,
    })
}

fn told(
    names: &Active,
    (now, dates): (Time, Dates),
    (counters, flows): (&Counters, &Flows),
    filters: &Filters,
    judged: Judged,
) -> Explanation {
    let Active { policy, host, compiled, .. } = names;
    let Judged { described, case, decided_by } = judged;
    let case = match case {
        Ok(case) => case,
        Err(unjudged) => {
            return convert::explanation(explain::not_judged(host, &described, &unjudged));
        }
    };
    let answer = explain::explain(policy, host, compiled, &described, &case, now, decided_by);
    let mut answer = convert::explanation(answer);
    if answer.rule.is_some() {
        answer.rule = rule_row(names, case.decision.rule, counters, dates);
    }
    if case.decision.reason == Reason::Default {
        answer.notes.extend(opened(flows, &case.flow, now));
    }
    if case.decision.verdict != Verdict::Drop {
        answer.notes.extend(filters.notes(host, &case.flow));
    }
    answer
}

/// What the destination of a frame has opened of its sender: what is no answer to that is judged by the rules.
fn opened(flows: &Flows, flow: &Flow, now: Time) -> Option<String> {
    let is_it = |noted: &&Noted| {
        let known = &noted.flow;
        (known.source_mac, known.source, known.destination, known.interface)
            == (flow.source_mac, flow.source, flow.destination, flow.interface)
    };
    let mut there: Vec<&Noted> = flows.noted.iter().filter(is_it).collect();
    there.sort_by_key(|noted| std::cmp::Reverse(noted.seen));
    let last = there.first()?;
    let service = service(&last.flow);
    let ago = span((now.boot as u64).saturating_sub(last.seen));
    Some(format!(
        "the destination has opened {service} of it, {ago} ago: `enforcer flows` lists all of it"
    ))
}

/// Chains of other tools that drop forwarded frames.
#[derive(Default)]
struct Filters {
    chains: Vec<Chain>,
    /// Indices of bridge ports.
    ports: BTreeSet<u32>,
    /// The gateway's own MACs.
    own: BTreeSet<u64>,
    bridge_calls_ip: bool,
}

impl Filters {
    /// What the chains may do to a frame that passes the program.
    fn notes(&self, host: &Host, flow: &Flow) -> Option<String> {
        let (destination, own): (IpAddr, _) = match flow.family {
            FAMILY_V4 => (Ipv4Addr::from_bits(flow.destination.to_v4()).into(), "ip"),
            FAMILY_V6 => (Ipv6Addr::from_bits(flow.destination.to_v6()).into(), "ip6"),
            _ => return None,
        };
        let arrived = host.interfaces.iter().find(|known| known.index == flow.interface)?;
        if host.own.contains(&destination) || flow.class != Class::Ip {
            return None;
        }
        let by_bridge =
            self.ports.contains(&flow.interface) && !self.own.contains(&flow.destination_mac);
        let meets = |chain: &&Chain| {
            let family = chain.family.as_str();
            let by_ip = !by_bridge || self.bridge_calls_ip;
            (family == "bridge" && by_bridge) || (by_ip && (family == own || family == "inet"))
        };
        let chains = self.chains.iter().filter(meets);
        let chains = chains.filter(|chain| !chain.accepts.contains(&arrived.name));
        let chains: Vec<String> = chains.map(Chain::to_string).collect();
        (!chains.is_empty()).then(|| {
            let chains = chains.join(", ");
            format!("another tool drops what its rules do not accept, behind enforcer: {chains}")
        })
    }
}

fn usage(error: explain::Error) -> Failure {
    let hint = error.hint().map(str::to_owned);
    Failure { error: error.to_string(), hint, code: ErrorCode::BadRequest }
}
