//! This machine's names for ports and makers of network cards: `/etc/services`, and the IEEE's list
//! if Debian's `ieee-data` or `hwdata` is installed.

use std::collections::HashMap;
use std::fs;

/// `SERVICE PORT/PROTO ALIASES… # COMMENT`, see services(5).
const SERVICES: &str = "/etc/services";
/// `XX-XX-XX   (hex)  MAKER`, among other lines.
///
/// Not a table in the binary: the published crates would add 5 and 6 MiB, more than half of
/// enforcer's size limit, and would become outdated.
const MAKERS: [&str; 3] =
    ["/usr/share/ieee-data/oui.txt", "/var/lib/ieee-data/oui.txt", "/usr/share/hwdata/oui.txt"];
/// Characters of a maker's name that are shown.
const LONGEST: usize = 24;

/// Names of services and makers.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Keyed by `443/tcp`.
    services: HashMap<String, String>,
    /// Keyed by the first three bytes of a MAC address; read on first use.
    makers: Option<HashMap<u32, String>>,
}

impl Names {
    /// The names on this machine.
    pub(super) fn of_this_machine() -> Self {
        let services = fs::read_to_string(SERVICES).unwrap_or_default();
        Self { services: services_in(&services), makers: None }
    }

    #[cfg(test)]
    pub(super) fn from_texts(services: &str, makers: &str) -> Self {
        Self { services: services_in(services), makers: Some(makers_in(makers)) }
    }

    /// The name of a port, if it has one.
    pub(super) fn service(&self, proto: &str, port: u16) -> Option<&str> {
        let name = self.services.get(&format!("{port}/{}", proto.to_lowercase()));
        name.map(String::as_str)
    }

    /// The maker of the device with this MAC address.
    pub(super) fn maker(&mut self, mac: &str) -> Option<&str> {
        let makers = self.makers.get_or_insert_with(|| {
            let text = MAKERS.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
            makers_in(&String::from_utf8_lossy(&text))
        });
        makers.get(&prefix(mac, ':')?).map(String::as_str)
    }
}

/// The first three bytes of `00:1b:44…` as a number. Locally administered addresses (IEEE 802) have
/// no maker.
fn prefix(mac: &str, between: char) -> Option<u32> {
    let mut number = 0;
    let mut bytes = mac.split(between);
    for _ in 0..3 {
        number = number << 8 | u32::from(u8::from_str_radix(bytes.next()?, 16).ok()?);
    }
    (number >> 16 & 0b10 == 0).then_some(number)
}

fn services_in(text: &str) -> HashMap<String, String> {
    let mut services = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(name), Some(port)) = (words.next(), words.next()) {
            // The first one is the official one.
            services.entry(port.to_owned()).or_insert_with(|| name.to_owned());
        }
    }
    services
}

fn makers_in(text: &str) -> HashMap<u32, String> {
    let maker = |line: &str| {
        let (number, name) = line.split_once("(hex)")?;
        let name = name.trim();
        let short = name.char_indices().nth(LONGEST).map_or(name, |(end, _)| &name[..end]);
        Some((prefix(number.trim(), '-')?, short.trim_end().to_owned()))
    };
    text.lines().filter_map(maker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        let text =
            "# comment\n\nhttps\t\t443/tcp\t\t# http over TLS\nhttps\t443/udp\nother 443/tcp\nx\n";
        let names = Names::from_texts(text, "");
        assert_eq!(names.service("TCP", 443), Some("https"));
        assert_eq!(names.service("UDP", 443), Some("https"));
        assert_eq!(names.service("SCTP", 443), None);
        assert_eq!(names.service("TCP", 444), None);
    }

    #[test]
    fn makers() {
        let text = "OUI/MA-L                                                    Organization\r\n\
                    00-1B-44   (hex)\t\tSanDisk Corporation\r\n\
                    001B44     (base 16)\t\tSanDisk Corporation\r\n\
                    \t\t\t\tMilpitas  CA  95035\r\n\
                    28-6F-B9   (hex)\t\tNokia Shanghai Bell Co., Ltd.\r\n";
        let mut names = Names::from_texts("", text);
        assert_eq!(names.maker("00:1b:44:11:3a:b7"), Some("SanDisk Corporation"));
        assert_eq!(names.maker("28:6f:b9:00:00:01"), Some("Nokia Shanghai Bell Co.,"));
        assert_eq!(names.maker("28:6f:b8:00:00:01"), None);
        for nobody in ["02:1b:44:11:3a:b7", "", "00:1b", "zz:00:00"] {
            assert_eq!(names.maker(nobody), None, "{nobody}");
        }
    }
}
