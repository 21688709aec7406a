//! This machine as the host of a policy, if it is the gateway.

use enforcer::config::Settings;
use enforcer::host::{Kernel, Link};
use enforcer::policy::Host;
use jiff::Timestamp;

use super::block_on;

/// Seconds since 1970-01-01 UTC.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The host of the settings' interfaces; `None` if none of them exists, or netlink fails.
pub(super) fn host(settings: &Settings) -> Option<Host> {
    let work = async {
        let kernel = Kernel::open()?;
        let links = kernel.links().await?;
        let named = |link: &Link| settings.interfaces.contains(&link.name);
        let protected: Vec<Link> = links.iter().filter(|link| named(link)).cloned().collect();
        Ok(kernel.host(&protected, &links, now()).await?)
    };
    block_on(work).ok().filter(|host| !host.interfaces.is_empty())
}
