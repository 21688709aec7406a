//! Runs of the active program without side effects: no counter, no event.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use enforcer_common::abi::{PROBE_BYTES, PROBE_MAGIC};
use enforcer_common::decide::Decision;

use super::Error;

/// Largest frame that fits into the page of a test run, with room for the kernel's own use.
const MAX_FRAME: usize = 3000;

/// Asks `dispatcher` about a frame that interface `index` received.
pub(super) fn run(dispatcher: &mut Xdp, frame: &[u8], index: u32) -> Result<Decision, Error> {
    if frame.len() > MAX_FRAME {
        return Err(Error::ProbeTooLong(frame.len()));
    }
    let mut input = vec![0u8; PROBE_BYTES];
    input.splice(..8, PROBE_MAGIC.to_ne_bytes());
    // Start with an invalid decision: without an active generation it stays.
    input.get_mut(8..24).into_iter().for_each(|answer| answer.fill(0xff));
    input.extend_from_slice(frame);
    let mut output = vec![0u8; input.len()];
    // `struct xdp_md`: data and data_end as offsets, data_meta, ingress_ifindex, rx_queue_index
    // and egress_ifindex (net/bpf/test_run.c, xdp_convert_md_to_buff).
    let context: Vec<u8> = [PROBE_BYTES as u32, input.len() as u32, 0, index, 0, 0]
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect();
    let options = TestRunOptions {
        data_in: Some(&input),
        data_out: Some(&mut output),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    dispatcher.test_run(options).map_err(Error::Probe)?;
    let answer = output.get(8..24).and_then(|answer| <&[u8; 16]>::try_from(answer).ok());
    answer.and_then(Decision::from_bytes).ok_or(Error::ProbeAnswer)
}
