//! How much memory the host has left.

/// Bytes that processes can still get without swapping, as the system says it; none where it does not say. Linux only so
/// far.
pub fn available_bytes() -> Option<u64> {
    if cfg!(target_os = "linux") { parse(&std::fs::read_to_string("/proc/meminfo").ok()?) } else { None }
}

/// The line `MemAvailable: N kB`.
fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A number of bytes for people: `3.1 GiB`, `512 KiB`.
pub(crate) fn readable(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = units.len().min((bytes.max(1).ilog2() / 10) as usize + 1) - 1;
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    if power == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", units[power]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "MemTotal:       24689164 kB\nMemFree:          501 kB\nMemAvailable:   22000000 kB\n";
        assert_eq!(parse(text), Some(22_000_000 * 1024));
        assert_eq!(parse("MemTotal: 1 kB\nMemAvailable: much\n"), None);
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }

    #[test]
    fn sizes_read_well() {
        let texts = [0, 1023, 1024, 3 << 20, 5_000_000_000, u64::MAX].map(readable);
        assert_eq!(texts, ["0 bytes", "1023 bytes", "1.0 KiB", "3.0 MiB", "4.7 GiB", "16777216.0 TiB"]);
    }
}
