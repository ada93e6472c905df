//! Extremes over a sliding window, kept in as little as two numbers.

/// The greatest value of the running period and of the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecentMax {
    running: f64,
    previous: f64,
}

impl RecentMax {
    pub(crate) fn update(&mut self, value: f64) {
        self.running = self.running.max(value);
    }

    /// Begins a period: what was seen two periods ago is forgotten.
    pub(crate) fn advance(&mut self) {
        self.previous = self.running;
        self.running = 0.0;
    }

    pub(crate) fn replace(&mut self, value: f64) {
        *self = Self { running: value, previous: 0.0 };
    }

    pub(crate) fn max(&self) -> f64 {
        self.running.max(self.previous)
    }
}
