//! Permissions on the socket, by the peer's groups according to the kernel.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::Peer;
use super::accounts::gid;
use super::listen::Error;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing.
    Nobody,
    /// Look.
    Viewer,
    /// Everything.
    Operator,
}

/// The groups that have a role. Root is always an operator; the socket's mode decides which users
/// can connect at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    viewers: Option<u32>,
    operators: Option<u32>,
}

impl Access {
    /// Root and no other user: no group has this number (`(gid_t)-1`, setgid(2)).
    pub const ROOT_ALONE: Self = Self { viewers: Some(u32::MAX), operators: Some(u32::MAX) };

    /// The groups with these names.
    ///
    /// # Errors
    ///
    /// There is no such group.
    pub fn new(viewers: Option<&str>, operators: Option<&str>) -> Result<Self, Error> {
        let number = |name: Option<&str>| match name {
            Some(name) => gid(name).map(Some).ok_or_else(|| Error::NoGroup(name.to_owned())),
            None => Ok(None),
        };
        Ok(Self { viewers: number(viewers)?, operators: number(operators)? })
    }

    /// The role of a peer. `groups` is `None` if the kernel does not report them: then only root
    /// may do anything, unless no group has a role.
    pub(super) fn role(&self, peer: &Peer, groups: Option<&[u32]>) -> Role {
        let Self { viewers, operators } = *self;
        let in_group = |group| peer.gid == group || groups.is_some_and(|all| all.contains(&group));
        if peer.uid == 0 || (viewers.is_none() && operators.is_none()) {
            Role::Operator
        } else if groups.is_none() {
            Role::Nobody
        } else if operators.is_some_and(in_group) {
            Role::Operator
        } else if viewers.is_some_and(in_group) {
            Role::Viewer
        } else if operators.is_none() {
            Role::Operator
        } else if viewers.is_none() {
            Role::Viewer
        } else {
            Role::Nobody
        }
    }
}

/// The supplementary groups that a peer had when it connected (`SO_PEERGROUPS`, Linux 4.13).
pub(super) fn groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX: the kernel never writes more.
    let mut groups = vec![0u32; 65_536];
    let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes, the size of
    // `groups`, to its start. JUSTIFICATION: neither std nor tokio nor rustix know this option.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}

/// Refusals that get a line: a user's first, then one a minute, so that no user can push the rest
/// out of the audit trail.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<u32, (Instant, u64)>>);

const ONE_LINE: Duration = Duration::from_secs(60);
/// Most users that are tracked separately.
const MAX_USERS: usize = 1_024;

impl Refusals {
    /// How many refusals the line stands for, if there should be one.
    pub(super) fn count(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MAX_USERS && !users.contains_key(&uid) {
            users.retain(|_, (last, _)| now.duration_since(*last) < ONE_LINE);
            if users.len() >= MAX_USERS {
                return None;
            }
        }
        match users.get_mut(&uid) {
            Some((last, count)) if now.duration_since(*last) < ONE_LINE => {
                *count += 1;
                None
            }
            Some((last, count)) => {
                *last = now;
                Some(std::mem::take(count) + 1)
            }
            None => {
                users.insert(uid, (now, 0));
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        let peer = |uid, gid| Peer { uid, gid, pid: None };
        let access = |viewers, operators| Access { viewers, operators };
        let none: &[u32] = &[];
        for (access, peer, groups, role) in [
            // Without roles, every user who may connect may do everything.
            (access(None, None), peer(5, 5), Some(none), Role::Operator),
            (access(None, None), peer(5, 5), None, Role::Operator),
            (access(Some(7), Some(8)), peer(0, 0), None, Role::Operator),
            (access(Some(7), Some(8)), peer(5, 8), Some(none), Role::Operator),
            (access(Some(7), Some(8)), peer(5, 5), Some(&[7, 8][..]), Role::Operator),
            (access(Some(7), Some(8)), peer(5, 5), Some(&[6, 7]), Role::Viewer),
            (access(Some(7), Some(8)), peer(5, 5), Some(&[6]), Role::Nobody),
            (access(Some(7), Some(8)), peer(5, 8), None, Role::Nobody),
            (access(Some(7), None), peer(5, 5), Some(&[7]), Role::Viewer),
            (access(Some(7), None), peer(5, 5), Some(none), Role::Operator),
            (access(None, Some(8)), peer(5, 5), Some(none), Role::Viewer),
        ] {
            assert_eq!(access.role(&peer, groups), role, "{access:?} {peer:?} {groups:?}");
        }
    }

    #[test]
    fn a_flood_of_refusals_is_a_line_a_minute() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.count(5, now), Some(1));
        assert_eq!(refusals.count(6, now), Some(1));
        for _ in 0..9 {
            assert_eq!(refusals.count(5, now), None);
        }
        assert_eq!(refusals.count(5, now + ONE_LINE), Some(10));
        for uid in 100..5_000 {
            refusals.count(uid, now);
        }
        assert!(refusals.0.lock().unwrap().len() <= MAX_USERS);
    }

    #[tokio::test]
    async fn the_kernel_tells_the_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut expected = vec![0; 1_024];
        // SAFETY: the kernel writes at most as many numbers as `expected` has room for.
        let n = unsafe { libc::getgroups(1_024, expected.as_mut_ptr()) };
        expected.truncate(usize::try_from(n).unwrap());
        assert_eq!(groups(&ours).unwrap(), expected);
    }
}
