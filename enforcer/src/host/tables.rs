//! Tables of the machine that devices can fill: neighbours, and MACs learned by bridges.

use futures_util::StreamExt;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, Kernel, Link};

/// The kernel's own default; see `docs/internals/essential-rates.md`.
const NEIGHBOURS: u32 = 1024;
/// This many MACs may appear within a bridge's ageing time, see
/// `docs/internals/essential-rates.md`.
const LEARNED: u32 = 2_912;

/// A table that invented addresses can fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// Which table, and the consequences.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// The neighbour table that is too small, if one is.
pub fn of_neighbours(most: &[(&'static str, u32)]) -> Option<TooSmall> {
    let (family, most) = most.iter().min_by_key(|(_, most)| *most)?;
    (*most < NEIGHBOURS).then(|| TooSmall {
        text: format!(
            "the kernel keeps {most} of {family}: addresses that devices invent, 2,048 at once, displace \
             real ones"
        ),
        remedy: format!("sysctl -w net.{family}.neigh.default.gc_thresh3=4096, and in /etc/sysctl.d"),
    })
}

/// The table of a bridge, if it is too small.
pub fn of_bridge(link: &Link) -> Option<TooSmall> {
    let (name, most) = (&link.name, link.bridge?.most_learned);
    (1..LEARNED).contains(&most).then(|| TooSmall {
        text: format!(
            "{name} learns {most} MACs at most: those that devices invent, up to {LEARNED}, keep real ones out"
        ),
        remedy: format!("ip link set {name} type bridge fdb_max_learned 0, or 4096"),
    })
}

impl Kernel {
    /// Most neighbours that the kernel keeps (`gc_thresh3`), for IPv4 and IPv6 if present. All network namespaces
    /// share one table per family.
    ///
    /// # Errors
    ///
    /// The kernel does not report it.
    pub async fn most_neighbours(&self) -> Result<Vec<(&'static str, u32)>, Error> {
        let message = RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default());
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let failed = |e| Error::Request { what: "tables of neighbours", source: Box::new(e) };
        let mut found = Vec::new();
        let mut answers = Box::pin(self.handle.clone().request(request).map_err(failed)?);
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbourTable(table)) =
                answer.payload
            {
                found.extend(most(&table));
            }
        }
        Ok(found)
    }
}

/// The size of a table: a message about one device alone has none.
fn most(table: &NeighbourTableMessage) -> Option<(&'static str, u32)> {
    let names = [(AddressFamily::Inet, "ipv4"), (AddressFamily::Inet6, "ipv6")];
    let (_, family) = names.into_iter().find(|(family, _)| *family == table.header.family)?;
    let most = table.attributes.iter().find_map(|attribute| {
        if let NeighbourTableAttribute::Threshold3(most) = attribute { Some(*most) } else { None }
    });
    Some((family, most?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Bridge;

    #[test]
    fn tables_that_devices_fill_are_too_small() {
        assert_eq!(of_neighbours(&[("ipv4", 1024), ("ipv6", 4096)]), None);
        let small = of_neighbours(&[("ipv4", 1024), ("ipv6", 512)]).unwrap();
        assert!(small.text.starts_with("the kernel keeps 512 of ipv6"), "{small:?}");
        let bridge = |most_learned| Link {
            name: "br0".into(),
            bridge: Some(Bridge { most_learned, ..Bridge::default() }),
            ..Link::default()
        };
        assert_eq!([0, 2_912].map(|most| of_bridge(&bridge(most))), [None, None]);
        assert!(of_bridge(&bridge(1_000)).unwrap().remedy.contains("fdb_max_learned 0"));
        assert_eq!(of_bridge(&Link::default()), None, "no bridge");
    }

    #[tokio::test]
    async fn the_kernel_says_how_large_its_tables_are() {
        let found = Kernel::open().unwrap().most_neighbours().await.unwrap();
        assert!(found.iter().any(|(family, most)| *family == "ipv4" && *most > 0), "{found:?}");
    }
}
