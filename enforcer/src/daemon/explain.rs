//! What would become of a frame: the program in the kernel is asked.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer_common::decide::Case;
use enforcer_common::flow::Fragment;

use super::core::Core;
use crate::api::{CapturedFrame, ExplainFrames, ExplainRequest, Explanation, Failure};
use crate::exit::Exit;
use crate::image::HostImage;
use crate::policy::explain::{self, Described};

/// Most frames in one request: the core does nothing else meanwhile.
const MAX_FRAMES: usize = 1000;

impl Core {
    /// Explains a described frame.
    pub(super) async fn explain(
        &mut self,
        mut request: ExplainRequest,
    ) -> Result<Explanation, Failure> {
        if request.mac.is_none()
            && let Ok(address) = request.from.parse()
            && let Ok(Some(way)) = self.kernel.way_to(address).await
        {
            request.mac = way.mac.map(|mac| mac.to_string());
        }
        let names = Arc::clone(&self.in_force);
        let described = explain::frame(&names.policy, &names.site, &request).map_err(usage)?;
        let mut answers = self.explain_all(vec![described]);
        Ok(answers.swap_remove(0))
    }

    /// Explains captured frames, in their order.
    pub(super) fn explain_frames(
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
        let described = (1..).zip(&request.frames).map(|(number, frame)| {
            let CapturedFrame { packet, length, interface } = frame;
            let bytes = BASE64_STANDARD.decode(packet);
            let bytes = bytes
                .map_err(|e| explain::Error::Captured { number, why: format!("packet: {e}") })?;
            explain::captured(&names.site, number, bytes, *length, interface.as_deref())
        });
        Ok(self.explain_all(described.collect::<Result<_, _>>().map_err(usage)?))
    }

    fn explain_all(&mut self, frames: Vec<Described>) -> Vec<Explanation> {
        let names = Arc::clone(&self.in_force);
        let (policy, site, compiled) = (&names.policy, &names.site, &names.compiled);
        let now = self.clock.now();
        // One for all: what it keeps of a first fragment holds for those that follow.
        let host = HostImage::at(&compiled.image, now);
        let counters = self.rule_counters();
        let explained = frames.into_iter().map(|mut described| {
            let mut case = host.decide(&described.frame, described.interface);
            let decided_by = self.ask_kernel(&mut described, &mut case);
            let mut answer =
                explain::explain(policy, site, compiled, &described, &case, now, decided_by);
            if answer.rule.is_some() {
                answer.rule = self.rule_row(case.decision.rule, &counters);
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

fn usage(error: explain::Error) -> Failure {
    let hint = error.hint().map(Into::into);
    Failure { error: error.to_string(), hint, exit: Exit::Usage as u8 }
}
