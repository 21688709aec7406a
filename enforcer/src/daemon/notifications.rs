//! Notifications from the kernel: changed interfaces and packet filter tables.

use std::io;

use futures_util::StreamExt;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;

/// `NFNLGRP_NFTABLES` in include/uapi/linux/netfilter/nfnetlink.h.
const NFTABLES: u32 = 7;

/// A change. The receiver has to ask the kernel for the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Interfaces changed.
    Interfaces,
    /// A packet filter table changed.
    Tables,
}

/// Listens in separate tasks. The queue is short: a pending notice stands for all later changes.
///
/// With `tables`, changes of packet filter tables are reported as well. A kernel that cannot report them
/// (without the module nfnetlink, for example) does not prevent enforcement: the tables are also polled.
pub(super) fn listen(tables: bool) -> io::Result<mpsc::Receiver<Notice>> {
    let (sender, notices) = mpsc::channel(2);
    let (connection, _, mut messages) = new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::spawn(connection);
    let interfaces = sender.clone();
    tokio::spawn(async move {
        while messages.next().await.is_some() {
            while futures_util::FutureExt::now_or_never(messages.next()).flatten().is_some() {}
            if interfaces.send(Notice::Interfaces).await.is_err() {
                return;
            }
        }
    });
    if tables && let Err(e) = listen_to_tables(sender) {
        log::warn!(
            "the kernel does not say when packet filter tables change ({e}): is the module nfnetlink \
             missing? the backstop is looked at every few seconds"
        );
    }
    Ok(notices)
}

fn listen_to_tables(sender: mpsc::Sender<Notice>) -> io::Result<()> {
    let mut socket = TokioSocket::new(libc::NETLINK_NETFILTER as isize)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(NFTABLES)?;
    tokio::spawn(async move {
        loop {
            // An overflow of the queue means a change, too.
            let _ = socket.recv_from_full().await;
            if sender.send(Notice::Tables).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
