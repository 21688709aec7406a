//! The events on the NICs, in order.

/// A step: all NICs take it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is protected yet.
    Baseline,
    /// The first start of the daemon, with the backstop installed.
    Start,
    DownUp,
    Rings,
    Queues,
    RxVlan,
    Gro,
    Lro,
    Tso,
    Mtu9000,
    Mtu1500,
    Rebind,
    /// Another first start, on NICs with a large MTU.
    StartAt9000,
    Detach,
    /// Unbinding of drivers that would hang with a program attached.
    RebindDetached,
}

impl Step {
    pub(super) const ALL: [Self; 15] = [
        Self::Baseline,
        Self::Start,
        Self::DownUp,
        Self::Rings,
        Self::Queues,
        Self::RxVlan,
        Self::Gro,
        Self::Lro,
        Self::Tso,
        Self::Mtu9000,
        Self::Mtu1500,
        Self::Rebind,
        Self::StartAt9000,
        Self::Detach,
        Self::RebindDetached,
    ];

    /// Its name in logs and tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Baseline => "without enforcement",
            Self::Start => "start",
            Self::DownUp => "down and up",
            Self::Rings => "rings",
            Self::Queues => "queues",
            Self::RxVlan => "rx-vlan-offload",
            Self::Gro => "GRO",
            Self::Lro => "LRO or GRO in hardware",
            Self::Tso => "TSO",
            Self::Mtu9000 => "MTU 9000",
            Self::Mtu1500 => "MTU 1500",
            Self::Rebind => "unbind and bind",
            Self::StartAt9000 => "start at MTU 9000",
            Self::Detach => "detach",
            Self::RebindDetached => "unbind and bind after it",
        }
    }

    /// The guest's command: functions of `events.sh`.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Baseline => "true",
            Self::Start => "enforcer backstop install && start",
            Self::DownUp => "event down_up",
            Self::Rings => "event rings",
            Self::Queues => "event queues",
            Self::RxVlan => "event feature rx-vlan-offload",
            Self::Gro => "event feature generic-receive-offload",
            Self::Lro => "event merging",
            Self::Tso => "event feature tcp-segmentation-offload",
            Self::Mtu9000 => "event mtu 9000",
            Self::Mtu1500 => "event mtu 1500",
            Self::Rebind => "event rebind",
            Self::StartAt9000 => "again 9000",
            Self::Detach => "enforcer detach",
            Self::RebindDetached => "HANGS= event rebind",
        }
    }

    /// Whether everything passes after it.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Baseline | Self::Detach | Self::RebindDetached)
    }

    /// Whether everything may pass while it happens.
    pub(super) fn opens(self) -> bool {
        self.is_open() || matches!(self, Self::Start | Self::StartAt9000)
    }

    /// Whether it affects a NIC, and not the daemon.
    pub(super) fn is_event(self) -> bool {
        !self.opens()
    }
}
