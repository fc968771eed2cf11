//! Named by nobody, passed by everybody: the points at which a crash test stops the process.
//!
//! A kill without destructors is the only honest test of a journal. Built with the feature
//! `crash-points`, the process aborts at the point whose number `LDMS_INSTALL_CRASH_AT` gives;
//! built without it, as every released program is, a point is nothing at all.

/// A moment at which power may fail. Put between an intent and its act, and after each act.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point() {}

/// A moment at which power may fail. Put between an intent and its act, and after each act.
#[cfg(feature = "crash-points")]
pub fn point() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    let chosen = std::env::var("LDMS_INSTALL_CRASH_AT").ok().and_then(|n| n.parse().ok());
    if chosen == Some(number) {
        std::process::abort();
    }
}
