//! `enforcer devices`: one line for each device, named or seen.

use enforcer::api::DeviceRow;
use enforcer::api::Exit;
use enforcer::control::client::Client;

use super::text::{head, number, table};
use super::{Result, Screen, block_on, print, print_json};

pub(super) fn run(client: &Client, json: bool) -> Result<Exit> {
    let rows = block_on(async { Ok(client.devices().await?) })?;
    if json {
        print_json(&rows)?;
    } else {
        print(&render(&rows, Screen::of_stdout().width))?;
    }
    Ok(Exit::Fine)
}

fn render(devices: &[DeviceRow], width: Option<usize>) -> String {
    if devices.is_empty() {
        return "no device has a name, and none was refused yet\n".to_owned();
    }
    let observed = devices.iter().any(|device| device.would_drop > 0);
    let mut columns = vec!["DEVICE", "ADDRESS", "GROUP", "MODE", "DROPPED"];
    if observed {
        columns.push("WOULD");
    }
    columns.push("LAST REFUSED");
    let mut rows = vec![head(&columns)];
    for device in devices {
        let name = device.device.as_ref().or(device.mac.as_ref());
        let mut row = vec![
            name.cloned().unwrap_or_else(|| "-".to_owned()),
            device.ip.clone().unwrap_or_else(|| "-".to_owned()),
            device.group.clone(),
            device.mode.clone(),
            number(device.dropped),
        ];
        if observed {
            row.push(number(device.would_drop));
        }
        row.push(device.last_destination.clone().unwrap_or_else(|| "-".to_owned()));
        rows.push(row);
    }
    let right: &[usize] = if observed { &[4, 5] } else { &[4] };
    table(&rows, right, &[2, 1, 0, columns.len() - 1], width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> [DeviceRow; 2] {
        [
            DeviceRow {
                device: Some("bed-12".into()),
                mac: Some("00:1b:44:11:3a:b7".into()),
                ip: Some("10.20.0.12".into()),
                group: "patient-monitors".into(),
                mode: "enforce".into(),
                dropped: 18_204,
                last_destination: Some("202.114.4.119 tcp/515".into()),
                ..DeviceRow::default()
            },
            DeviceRow {
                mac: Some("00:1b:44:11:3a:b8".into()),
                group: "unknown".into(),
                mode: "enforce".into(),
                ..DeviceRow::default()
            },
        ]
    }

    #[test]
    fn eighty_columns() {
        let expected = "\
DEVICE             ADDRESS     GROUP     MODE     DROPPED  LAST REFUSED
bed-12             10.20.0.12  patient…  enforce   18,204  202.114.4.119 tcp/515
00:1b:44:11:3a:b8  -           unknown   enforce        0  -
";
        assert_eq!(render(&devices(), Some(80)), expected);
    }

    #[test]
    fn a_column_for_observed_groups_when_there_is_something_in_it() {
        let mut devices = devices();
        devices[1].would_drop = 3;
        let text = render(&devices, None);
        let line = "DEVICE             ADDRESS     GROUP             MODE     DROPPED  WOULD  LAST";
        assert!(text.starts_with(line), "{text}");
        assert!(text.contains("patient-monitors"), "{text}");
    }
}
