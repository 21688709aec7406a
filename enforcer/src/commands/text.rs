//! Words, numbers and tables for people.

pub(super) use enforcer::shown::plain as clean;

/// Minimum width of a cut column.
const NARROWEST: usize = 8;

/// A table: the first row is the head. Columns of `right` are numbers. Where it is wider than
/// `width`, the columns of `flexible` are cut, in that order, and the cut is shown with `…`.
pub(super) fn table(
    rows: &[Vec<String>],
    right: &[usize],
    flexible: &[usize],
    width: Option<usize>,
) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let mut widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0))
        .collect();
    if let Some(width) = width {
        let total = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
        let mut over = total.saturating_sub(width);
        for column in flexible {
            let cut = over.min(widths[*column].saturating_sub(NARROWEST));
            widths[*column] -= cut;
            over -= cut;
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let cell = cut(&clean(cell), width);
            if column > 0 {
                line.push_str("  ");
            }
            if right.contains(&column) {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                line.push_str(&format!("{cell:<width$}"));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The head of a table.
pub(super) fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Packs parts into lines no wider than `width`, later lines indented. A part is never broken.
pub(super) fn pack(first: &str, parts: &[String], indent: usize, width: Option<usize>) -> String {
    let mut out = first.trim_end().to_owned();
    let mut used = first.chars().count();
    let mut fresh = false;
    for part in parts {
        let len = part.chars().count();
        let gap = if fresh { 0 } else { 2 };
        if !fresh && width.is_some_and(|width| used + gap + len > width) {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
        } else {
            // The first line's padding is kept when something follows on it.
            let have = out.rsplit('\n').next().unwrap_or("").chars().count();
            out.push_str(&" ".repeat(used.saturating_sub(have) + gap));
            used += gap;
        }
        out.push_str(part);
        used += len;
        fresh = false;
    }
    out
}

/// `2026-11-23 12:03:04`, on this machine's clock, from seconds since 1970-01-01 UTC.
pub(super) fn seconds(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return seconds.to_string() };
    time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `18,204`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.5 MiB`.
pub(super) fn bytes(n: u64) -> String {
    let (mut unit, mut scale) = ("B", 1);
    for (name, next) in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)] {
        if n >= next {
            (unit, scale) = (name, next);
        }
    }
    if scale == 1 {
        return format!("{n} B");
    }
    let tenths = u128::from(n) * 10 / u128::from(scale);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `3 groups`, `1 group`.
pub(super) fn count(n: usize, what: &str) -> String {
    let n = n as u64;
    format!("{} {what}{}", number(n), if n == 1 { "" } else { "s" })
}

/// `2026-11-23 12:03:04` of an RFC 3339 time.
pub(super) fn time(rfc3339: &str) -> String {
    let seconds = rfc3339.get(..19).unwrap_or(rfc3339);
    clean(&seconds.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(18_204), "18,204");
        assert_eq!(number(1_000_000), "1,000,000");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(count(1, "rule"), "1 rule");
        assert_eq!(count(0, "rule"), "0 rules");
        assert_eq!(time("2026-11-23T12:03:04.123456+01:00"), "2026-11-23 12:03:04");
        assert_eq!(time("soon"), "soon");
    }

    #[test]
    fn tables_are_cut_to_the_terminal_and_whole_in_a_pipe() {
        let rows = [
            head(&["NAME", "N", "WHY"]),
            vec!["a-rather-long-name".into(), "7".into(), "because it was asked for".into()],
        ];
        assert_eq!(
            table(&rows, &[1], &[2], None),
            "NAME                N  WHY\na-rather-long-name  7  because it was asked for\n"
        );
        assert_eq!(
            table(&rows, &[1], &[2, 0], Some(36)),
            "NAME                N  WHY\na-rather-long-name  7  because it w…\n"
        );
        assert_eq!(
            table(&rows, &[1], &[2, 0], Some(24)),
            "NAME         N  WHY\na-rather-l…  7  because…\n"
        );
    }

    #[test]
    fn parts_are_packed() {
        let parts = ["one".to_owned(), "two".to_owned()];
        assert_eq!(pack("head  ", &parts, 2, None), "head    one  two");
        assert_eq!(pack("head  ", &parts, 2, Some(11)), "head    one\n  two");
        assert_eq!(pack("head  ", &parts, 2, Some(10)), "head\n  one  two");
        assert_eq!(pack("head  ", &[], 2, None), "head");
    }
}
