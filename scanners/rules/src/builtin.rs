//! The rules that ship, compiled into the binary. The list is explicit: a file that is on disk but
//! not here, or here but not on disk, fails a test.

use mcpf_scan::{RuleSpec, in_parallel};

use crate::diagnostic::Diagnostic;
use crate::load::parse;
use crate::rule::{Rule, specs};

/// One entry of [`FILES`].
macro_rules! shipped {
    ($path:literal) => {
        (
            concat!("rulesets/", $path),
            include_str!(concat!("../../../rulesets/", $path)),
        )
    };
}

/// Every shipped rule file: its path in the repository and its text, in path order.
pub const FILES: &[(&str, &str)] = &[
    shipped!("commands/injection.yaml"),
    shipped!("commands/paths.yaml"),
    shipped!("commands/shell.yaml"),
    shipped!("egress/addresses.yaml"),
    shipped!("exfil/beacons.yaml"),
    shipped!("exfil/channels.yaml"),
    shipped!("feed/threats.yaml"),
    shipped!("injection/agentic.yaml"),
    shipped!("injection/extraction.yaml"),
    shipped!("injection/hidden.yaml"),
    shipped!("injection/html.yaml"),
    shipped!("injection/jailbreak.yaml"),
    shipped!("injection/memory.yaml"),
    shipped!("injection/multilingual.yaml"),
    shipped!("injection/override.yaml"),
    shipped!("injection/roles.yaml"),
    shipped!("pii/contact.yaml"),
    shipped!("pii/finance.yaml"),
    shipped!("pii/identity.yaml"),
    shipped!("secrets/ai.yaml"),
    shipped!("secrets/cloud.yaml"),
    shipped!("secrets/comms.yaml"),
    shipped!("secrets/databases.yaml"),
    shipped!("secrets/generic.yaml"),
    shipped!("secrets/keys.yaml"),
    shipped!("secrets/payments.yaml"),
    shipped!("secrets/saas.yaml"),
    shipped!("secrets/vcs.yaml"),
    shipped!("tools/poisoning.yaml"),
];

/// The shipped rules with their examples and places, in file order. They are linted by the tests
/// of this crate, not again here: start-up pays for parsing only.
///
/// # Errors
/// None that a released build shows: a shipped file that does not parse fails the tests.
pub fn builtin_rules() -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let mut rules = Vec::new();
    let mut found = Vec::new();
    let parsed = in_parallel(FILES.len(), |at| {
        let (file, text) = FILES.get(at).copied().unwrap_or_default();
        parse(text, file)
    });
    for file in parsed {
        match file {
            Ok(more) => rules.extend(more),
            Err(more) => found.extend(more),
        }
    }
    if found.is_empty() {
        Ok(rules)
    } else {
        Err(found)
    }
}

/// The shipped rules as the engine takes them.
///
/// # Errors
/// As for [`builtin_rules`].
pub fn load_builtin() -> Result<Vec<RuleSpec>, Vec<Diagnostic>> {
    builtin_rules().map(|rules| specs(&rules))
}
