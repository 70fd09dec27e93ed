//! Everything that decides, as one immutable value: swapped whole, loaded once for each message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcpf_model::Limits;
use mcpf_policy::Plan;
use mcpf_scan::{BuildError, Engine, RuleSpec, ScanError};
use mcpf_wire::Parser;

use crate::buckets::Buckets;

/// Policy, rules and limits that belong together.
#[derive(Debug)]
pub struct Generation {
    /// The policy.
    pub policy: Plan,
    /// The compiled rules, those of the policy's `content` section among them.
    pub engine: Engine,
    /// The limits.
    pub limits: Limits,
    /// Names the rules: two generations with one rule revision find the same.
    pub rules: Arc<str>,
}

impl Generation {
    /// Compiles `rules` and the policy's own content rules.
    ///
    /// `cache` is a directory of the user's own for compiled databases; `None` compiles each time.
    ///
    /// # Errors
    ///
    /// Every rule that does not compile.
    pub fn build(
        policy: Plan,
        mut rules: Vec<RuleSpec>,
        limits: Limits,
        cache: Option<&std::path::Path>,
    ) -> Result<Self, Vec<BuildError>> {
        rules.extend(crate::content::specs(&policy));
        let engine = Engine::build(rules, cache)?;
        Ok(Self {
            rules: Arc::from(engine.revision()),
            engine,
            policy,
            limits,
        })
    }
}

/// What every connection of a process shares.
#[derive(Debug, Default)]
pub struct Shared {
    /// Token buckets.
    pub buckets: Buckets,
    /// The kill switch.
    pub kill: KillSwitch,
}

/// While it is on, nothing passes in either direction. It takes effect on the next message.
#[derive(Debug, Default)]
pub struct KillSwitch {
    by_signal: AtomicBool,
    by_file: AtomicBool,
}

impl KillSwitch {
    /// Sets what the operator's signals asked for last.
    pub fn set_by_signal(&self, on: bool) {
        self.by_signal.store(on, Ordering::Relaxed);
    }

    /// Sets whether the kill file exists.
    pub fn set_by_file(&self, on: bool) {
        self.by_file.store(on, Ordering::Relaxed);
    }

    /// Whether nothing passes.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.by_signal.load(Ordering::Relaxed) || self.by_file.load(Ordering::Relaxed)
    }
}

/// Buffers of one worker. Reused for every message, shared with nobody.
pub struct Scratch {
    pub(crate) parser: Parser,
    pub(crate) scan: mcpf_scan::Scratch,
    pub(crate) findings: Vec<mcpf_model::Finding>,
    pub(crate) edits: Vec<mcpf_wire::Edit>,
}

impl Scratch {
    /// Buffers that fit `generation`; a new generation needs new ones.
    ///
    /// # Errors
    ///
    /// When the scan library cannot allocate.
    pub fn new(generation: &Generation) -> Result<Self, ScanError> {
        Ok(Self {
            parser: Parser::new(&generation.limits),
            scan: generation.engine.new_scratch()?,
            findings: Vec::new(),
            edits: Vec::new(),
        })
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// What one inspection needs that outlives it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The generation that decides.
    pub generation: Arc<Generation>,
    /// What all connections share.
    pub shared: Arc<Shared>,
}
