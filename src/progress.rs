//! How long work tells that it goes on: the library reports, the programs draw.

/// Somebody who wants to see how far a long piece of work has come. Called from several threads.
pub trait Progress: Sync {
    /// A task called `task` begins and will handle `bytes` bytes in all. Several may run at once.
    fn begin(&self, task: &str, bytes: u64);
    /// `task` has handled `bytes` more.
    fn advance(&self, task: &str, bytes: u64);
    /// `task` is done.
    fn end(&self, task: &str);
    /// A plain line worth telling: a step done, something skipped, a warning.
    fn note(&self, line: &str);
}

/// Nobody looks.
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn end(&self, _: &str) {}
    fn note(&self, _: &str) {}
}
