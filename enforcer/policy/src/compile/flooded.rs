//! The rules of interfaces: which broadcast and multicast leaves by them.

use enforcer_common::image::Line;

use super::tree::Builder;
use super::{CompiledRule, Holder, descriptor};
use crate::{Action, Host, Policy, Problem};

/// The descriptor of each interface of the policy that has rules, and numbers for the rules.
///
/// Every interface is compiled, whether the machine has it or not, so that its rules are checked and have numbers.
pub(super) fn descriptors(
    builder: &mut Builder,
    policy: &Policy,
    host: &Host,
    numbers: &mut Vec<Option<CompiledRule>>,
    problems: &mut Vec<Problem>,
) -> Vec<Option<Line>> {
    let mut descriptors = Vec::with_capacity(policy.interfaces.len());
    for (holder, interface) in policy.interfaces.iter().enumerate() {
        let mut rules = Vec::with_capacity(interface.accept.len());
        for (index, rule) in interface.accept.iter().enumerate() {
            rules.push((numbers.len() as u32, true, rule));
            let holder = Holder::Interface(holder);
            numbers.push(Some(CompiledRule { holder, action: Action::Accept, index }));
        }
        descriptors.push(if rules.is_empty() {
            None
        } else {
            let made = descriptor(builder, &interface.place, &rules, host);
            made.map_err(|problem| problems.push(problem)).ok()
        });
    }
    descriptors
}
