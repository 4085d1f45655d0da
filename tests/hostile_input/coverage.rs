//! Which branches were taken, in builds that count them: what finds new ones is worth damaging further. Others find
//! nothing new.
//!
//! `--cfg coverage_guided` says that LLVM's pass `sancov-module` made the counters (LLVM, SanitizerCoverage: inline 8-bit
//! counters); `docs/reliability.md` has the command.

/// What was seen so far.
pub(crate) struct Seen(#[cfg_attr(not(coverage_guided), expect(dead_code, reason = "nothing is counted"))] Vec<u8>);

impl Seen {
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Forgets how often each branch was taken until now.
    pub(crate) fn begin(&self) {
        #[cfg(coverage_guided)]
        counters::clear();
    }

    /// Whether, since it began, a branch was taken that was never taken before, or about as often as never before.
    pub(crate) fn is_new(&mut self) -> bool {
        #[cfg(coverage_guided)]
        return counters::merge(&mut self.0);
        #[cfg(not(coverage_guided))]
        false
    }
}

#[cfg(coverage_guided)]
mod counters {
    use std::sync::Mutex;

    /// Where counters lie: first address and number. They live as long as the process.
    static REGIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

    /// What every instrumented object calls before `main`, several of them with the same counters.
    ///
    /// # Safety
    /// The counters between both addresses must live as long as the process.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
        let mut regions = REGIONS.lock().unwrap();
        let region = (start as usize, stop as usize - start as usize);
        if !regions.contains(&region) {
            regions.push(region);
        }
    }

    fn each(mut visit: impl FnMut(usize, *mut u8)) {
        let mut number = 0;
        for &(start, len) in REGIONS.lock().unwrap().iter() {
            for i in 0..len {
                visit(number, (start + i) as *mut u8);
                number += 1;
            }
        }
    }

    pub(super) fn clear() {
        // SAFETY: the address is one of the region's. Counts of other threads meanwhile may be lost, as counts are anyway.
        each(|_, counter| unsafe { counter.write_volatile(0) });
    }

    pub(super) fn merge(seen: &mut Vec<u8>) -> bool {
        let mut is_new = false;
        each(|number, counter| {
            // SAFETY: the address is one of the region's.
            let count = unsafe { counter.read_volatile() };
            if count > 0 {
                if seen.len() <= number {
                    seen.resize(number + 1, 0);
                }
                // One bit for 1, 2, 3 to 4, 5 to 8, up to 65 and more.
                let bit = 1 << (8 - (count - 1).leading_zeros()).min(7);
                is_new |= seen[number] & bit == 0;
                seen[number] |= bit;
            }
        });
        is_new
    }
}
