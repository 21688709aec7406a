//! The operator's own remote session, which a change must not cut off by accident.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use enforcer::api::{Guard, Session};

/// Most ancestors to check: sudo, a shell, tmux and sshd are few.
const ANCESTORS: usize = 32;

/// The session that a change must not cut off, unless forced.
pub(super) fn guard(force: bool) -> Guard {
    Guard { force, session: own() }
}

/// The SSH session that this command runs in, if any.
///
/// sshd sets `SSH_CONNECTION`; sudo removes it, so the ancestors are checked too.
pub(super) fn own() -> Option<Session> {
    if let Ok(text) = std::env::var("SSH_CONNECTION") {
        return parse(&text);
    }
    let mut pid = std::process::id();
    for _ in 0..ANCESTORS {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variable = environment
            .split(|byte| *byte == 0)
            .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("SSH_CONNECTION="));
        if let Some(text) = variable {
            return parse(text);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        pid = parent.trim().parse().ok().filter(|pid| *pid != 0)?;
    }
    None
}

/// `192.0.2.7 51234 192.0.2.1 22`: peer and own end.
fn parse(text: &str) -> Option<Session> {
    let mut words = text.split(' ');
    let mut end = || {
        // A link-local address carries its interface: fe80::1%lan0.
        let address: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), words.next()?.parse().ok()?))
    };
    Some(Session { peer: end()?, local: end()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshd_tells_both_ends() {
        let session = parse("192.0.2.7 51234 192.0.2.1 22").unwrap();
        assert_eq!(session.peer, "192.0.2.7:51234".parse().unwrap());
        assert_eq!(session.local, "192.0.2.1:22".parse().unwrap());
        let session = parse("fe80::7%lan0 51234 ::ffff:192.0.2.1 22").unwrap();
        assert_eq!(session.peer, "[fe80::7]:51234".parse().unwrap());
        assert_eq!(session.local, "192.0.2.1:22".parse().unwrap());
        for text in ["", "192.0.2.7", "192.0.2.7 x 192.0.2.1 22"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
