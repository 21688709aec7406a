//! Options of `allow`, `deny`, `accept` and `refuse`.

use clap::Args;

use super::{Output, Terms};

/// Options of `allow` and `deny`.
#[derive(Debug, Args)]
pub(crate) struct Live {
    /// Group, device, MAC address or source address
    pub(crate) target: String,
    /// Address, CIDR, range, @set, any, gateway or local
    #[arg(value_name = "DEST")]
    pub(crate) to: String,
    /// Service, such as tcp/443 or udp/8000-8010; several with commas
    #[arg(default_value = "any")]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) terms: Terms,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of `accept` and `refuse`.
#[derive(Debug, Args)]
pub(crate) struct Inbound {
    /// Group, device, MAC address or source address
    pub(crate) target: String,
    /// Who sends it: address, CIDR, range, @set, any, gateway or local
    pub(crate) from: String,
    /// Service of the device, such as tcp/22 or udp/161; several with commas
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) terms: Terms,
    #[command(flatten)]
    pub(crate) output: Output,
}
