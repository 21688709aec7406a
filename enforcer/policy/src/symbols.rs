//! Names for the numbers in an image: the part of a policy that is kept to describe decisions.

use std::collections::HashMap;
use std::sync::Arc;

use enforcer_common::flow::{FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::image::NO_DEVICE;

use super::compile::{Compiled, CompiledRule, Slot};
use super::{Host, Mac, Mode, Policy, Range};

/// Names by number, shared by all events that use them.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Number of the generation in the kernel.
    pub generation: u32,
    /// Counts applied policies.
    pub revision: u64,
    /// Groups by number; the first entry is for unknown devices.
    groups: Vec<(Arc<str>, Mode)>,
    /// Rules by number; `None` for the number of a removed live rule.
    rules: Vec<Option<RuleName>>,
    /// Devices by slot of the MAC table.
    slots: Vec<Option<Arc<str>>>,
    /// Devices with a MAC address.
    macs: HashMap<Mac, Arc<str>>,
    /// Devices that are known only by their addresses.
    addresses: Vec<(Range, Arc<str>)>,
    /// Interfaces with their index.
    interfaces: Vec<(u32, Arc<str>)>,
}

/// Id and reason of a rule.
#[derive(Clone, Debug)]
pub struct RuleName {
    /// Its stable id.
    pub id: Arc<str>,
    /// The operator's reason for it.
    pub reason: Option<Arc<str>>,
}

impl Symbols {
    /// The names of a policy that was compiled for a machine.
    pub fn new(policy: &Policy, compiled: &Compiled, host: &Host) -> Self {
        let names: Vec<Arc<str>> =
            policy.devices.iter().map(|device| device.name.as_str().into()).collect();
        let devices = || policy.devices.iter().zip(&names);
        let unknown = (Arc::from("unknown"), policy.unknown.mode);
        let groups = policy.groups.iter().map(|group| (group.name.as_str().into(), group.mode));
        let rule = |rule: &CompiledRule| {
            let (_, rule) = rule.rule(policy)?;
            let reason = rule.reason.as_deref().map(Into::into);
            Some(RuleName { id: rule.id.as_str().into(), reason })
        };
        let slot = |slot: &Option<Slot>| names.get(slot.as_ref()?.device?).cloned();
        let by_address = devices().filter(|(device, _)| device.mac.is_none());
        Self {
            generation: 0,
            revision: 0,
            groups: std::iter::once(unknown).chain(groups).collect(),
            rules: compiled.rules.iter().map(|number| number.as_ref().and_then(rule)).collect(),
            slots: compiled.slots.iter().map(slot).collect(),
            macs: devices()
                .filter_map(|(device, name)| Some((device.mac?, name.clone())))
                .collect(),
            addresses: by_address
                .flat_map(|(device, name)| {
                    device.addresses.iter().map(move |range| (*range, name.clone()))
                })
                .collect(),
            interfaces: host
                .interfaces
                .iter()
                .map(|interface| (interface.index, interface.name.as_str().into()))
                .collect(),
        }
    }

    /// Name and mode of the group with this number.
    pub fn group(&self, number: u32) -> Option<(&Arc<str>, Mode)> {
        self.groups.get(number as usize).or(self.groups.first()).map(|(name, mode)| (name, *mode))
    }

    /// The rule with this number; none for `NO_RULE`.
    pub fn rule(&self, number: u32) -> Option<&RuleName> {
        self.rules.get(number as usize)?.as_ref()
    }

    /// The device that sent a frame: by its slot of the MAC table or, without a MAC, by its address.
    pub fn device(&self, slot: u32, flow: &Flow) -> Option<&Arc<str>> {
        if slot != NO_DEVICE {
            return self.slots.get(slot as usize)?.as_ref();
        }
        let holds = |range: &Range| match *range {
            Range::V4(first, last) => {
                flow.family == FAMILY_V4 && (first..=last).contains(&flow.source.to_v4())
            }
            Range::V6(first, last) => {
                flow.family == FAMILY_V6 && (first..=last).contains(&flow.source.to_v6())
            }
        };
        self.addresses.iter().find(|(range, _)| holds(range)).map(|(_, name)| name)
    }

    /// The device with this MAC address.
    pub fn device_of(&self, mac: Mac) -> Option<&Arc<str>> {
        self.macs.get(&mac)
    }

    /// The interface with this index.
    pub fn interface(&self, index: u32) -> Option<&Arc<str>> {
        self.interface_where(|known| known == index)
    }

    /// The first interface whose index fulfils a condition.
    pub fn interface_where(&self, is: impl Fn(u32) -> bool) -> Option<&Arc<str>> {
        self.interfaces.iter().find(|(index, _)| is(*index)).map(|(_, name)| name)
    }
}
