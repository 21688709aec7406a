//! What would become of a frame: the program in the kernel is asked.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer_common::decide::Case;
use enforcer_common::flow::{Class, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use enforcer_common::reason::Verdict;
use enforcer_common::wire::mac;
use rtnetlink::packet_route::link::InfoKind;

use super::core::Core;
use super::failure;
use crate::api::{CapturedFrame, ExplainFrames, ExplainRequest, Explanation, Failure};
use crate::backstop::forward::{self, Chain};
use crate::doctor::look::bridge_calls_ip;
use crate::exit::Exit;
use crate::image::HostImage;
use crate::policy::Site;
use crate::policy::explain::heard::Heard;
use crate::policy::explain::{self, Captured, Described};
use crate::site::Link;

/// Most frames in one request: the core does nothing else meanwhile.
const MAX_FRAMES: usize = 1000;
/// Most sources of captured packets that the kernel is asked a way to.
const MAX_WAYS: usize = 64;
/// How long a look at the chains of other tools holds.
const FILTERS_HOLD: Duration = Duration::from_secs(5);

impl Core {
    /// Explains a described frame.
    pub(super) async fn explain(
        &mut self,
        request: ExplainRequest,
    ) -> Result<Explanation, Failure> {
        let names = Arc::clone(&self.in_force);
        let (policy, site) = (&names.policy, &names.site);
        let mut heard = self.heard().await;
        if let Some(source) = explain::asked_source(policy, site, &heard, &request) {
            self.kernel.hear_way(site, &mut heard, source).await;
        }
        let described = explain::frame_heard(policy, site, &heard, &request).map_err(usage)?;
        let filters = self.filters().await;
        Ok(self.explain_all(vec![described], &filters).swap_remove(0))
    }

    /// Explains captured frames, in their order.
    pub(super) async fn explain_frames(
        &mut self,
        request: &ExplainFrames,
    ) -> Result<Vec<Explanation>, Failure> {
        if request.frames.len() > MAX_FRAMES {
            return Err(Failure {
                error: format!("{} frames in one request", request.frames.len()),
                hint: Some(format!("ask about {MAX_FRAMES} at a time")),
                exit: Exit::Usage as u8,
            });
        }
        let names = Arc::clone(&self.in_force);
        let (policy, site) = (&names.policy, &names.site);
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
            self.kernel.hear_way(site, &mut heard, source).await;
        }
        let described = (1..)
            .zip(captured)
            .map(|(number, frame)| explain::captured(policy, site, &heard, number, frame));
        let described = described.collect::<Result<_, _>>().map_err(usage)?;
        let filters = self.filters().await;
        Ok(self.explain_all(described, &filters))
    }

    /// What the kernel has heard of who is where; nothing, if it does not tell.
    async fn heard(&self) -> Heard {
        let heard = self.kernel.heard(&self.in_force.site).await;
        heard.unwrap_or_else(|e| {
            log::warn!("{}", failure(&e.into()).error);
            Heard::default()
        })
    }

    /// What drops behind us. A look costs two runs of nft or more: one holds for a moment.
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
        Filters { chains, ports, own, bridge_calls_ip: bridge_calls_ip() }
    }

    fn explain_all(&mut self, frames: Vec<Described>, filters: &Filters) -> Vec<Explanation> {
        let names = Arc::clone(&self.in_force);
        let (policy, site, compiled) = (&names.policy, &names.site, &names.compiled);
        let now = self.clock.now();
        // One for all: what it keeps of a first fragment holds for those that follow.
        let host = HostImage::at(&compiled.image, now);
        let counters = self.rule_counters();
        let explained = frames.into_iter().map(|mut described| {
            let mut case = match explain::judge(&host, &described) {
                Ok(case) => case,
                Err(unjudged) => return explain::not_judged(site, &described, &unjudged),
            };
            let decided_by = self.ask_kernel(&mut described, &mut case);
            let mut answer =
                explain::explain(policy, site, compiled, &described, &case, now, decided_by);
            if answer.rule.is_some() {
                answer.rule = self.rule_row(case.decision.rule, &counters);
            }
            if case.decision.verdict != Verdict::Drop {
                answer.notes.extend(filters.notes(site, &case.flow));
            }
            answer
        });
        explained.collect()
    }

    /// Puts the decision of the program in force in the place of the host's, and says who decided:
    /// the host only where the kernel cannot be asked.
    fn ask_kernel(&mut self, described: &mut Described, case: &mut Case) -> &'static str {
        if case.flow.fragment != Fragment::Whole {
            let text = "a fragment: the program in force is not asked, it would remember it";
            described.assumed.push(text.into());
            return "host";
        }
        match self.dataplane.probe(&described.frame, described.interface) {
            Ok(decision) => {
                if decision != case.decision {
                    log::error!("host and kernel disagree: {:?} {decision:?}", case.decision);
                }
                case.decision = decision;
                "kernel"
            }
            Err(e) => {
                log::warn!("the program in the kernel cannot be asked: {e}");
                described.assumed.push(format!("the program in force was not asked: {e}"));
                "host"
            }
        }
    }
}

/// Chains of other tools that drop what is forwarded.
#[derive(Default)]
struct Filters {
    chains: Vec<Chain>,
    /// Indices of the ports of bridges.
    ports: BTreeSet<u32>,
    /// The gateway's own MACs.
    own: BTreeSet<u64>,
    bridge_calls_ip: bool,
}

impl Filters {
    /// What the chains may do to a frame that we let pass.
    fn notes(&self, site: &Site, flow: &Flow) -> Option<String> {
        let (destination, own): (IpAddr, _) = match flow.family {
            FAMILY_V4 => (Ipv4Addr::from_bits(flow.destination.to_v4()).into(), "ip"),
            FAMILY_V6 => (Ipv6Addr::from_bits(flow.destination.to_v6()).into(), "ip6"),
            _ => return None,
        };
        let arrived = site.interfaces.iter().find(|known| known.index == flow.interface)?;
        if site.own.contains(&destination) || flow.class != Class::Ip {
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
    let hint = error.hint().map(Into::into);
    Failure { error: error.to_string(), hint, exit: Exit::Usage as u8 }
}
