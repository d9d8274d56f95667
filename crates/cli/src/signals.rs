//! SIGINT and SIGTERM ask a run to stop after the present step, with its state saved; asked a second time, it stops at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What has been asked from outside.
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Watches for signals from now on.
    pub(crate) fn watch() -> Self {
        let signals = Self { stop: Arc::default(), number: Arc::default() };
        #[cfg(unix)]
        for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            use signal_hook::flag;
            // In the order of registration: the first signal finds `stop` unset and only sets the flags.
            let watched = flag::register_conditional_shutdown(number, 128 + number, signals.stop.clone())
                .and_then(|_| flag::register_usize(number, signals.number.clone(), number as usize))
                .and_then(|_| flag::register(number, signals.stop.clone()));
            if let Err(e) = watched {
                tracing::warn!("cannot watch for signal {number}: {e}");
            }
        }
        signals
    }

    /// Set when a signal came.
    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// The signal that came last.
    pub(crate) fn received(&self) -> Option<u8> {
        u8::try_from(self.number.load(Ordering::Relaxed)).ok().filter(|n| *n > 0)
    }
}
