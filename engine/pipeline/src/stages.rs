//! The stations of the corridor, in the order a message passes them.

use mcpf_model::{Direction, Family, Stage, Surface};

/// What a client's message passes.
pub const INBOUND: [Stage; 8] = [
    Stage::KillSwitch,
    Stage::Identity,
    Stage::RateLimit,
    Stage::Injection,
    Stage::Egress,
    Stage::Policy,
    Stage::Chain,
    Stage::Approval,
];

/// What a server's message passes.
pub const OUTBOUND: [Stage; 6] = [
    Stage::KillSwitch,
    Stage::Secrets,
    Stage::Pii,
    Stage::Exfiltration,
    Stage::Content,
    Stage::ToolIntegrity,
];

/// The station that judges a finding. One scan feeds them all.
pub(crate) const fn judge(direction: Direction, family: Family, surface: Surface) -> Stage {
    match (direction, family, surface) {
        (Direction::Inbound, Family::Injection | Family::Tool, _) => Stage::Injection,
        // Content rules are the operator's own policy.
        (Direction::Inbound, Family::Content, _) => Stage::Policy,
        // Everything else in an argument is about where data goes or what it makes a tool do.
        (Direction::Inbound, _, _) => Stage::Egress,
        (Direction::Outbound, Family::Secret, _) => Stage::Secrets,
        (Direction::Outbound, Family::Pii, _) => Stage::Pii,
        (Direction::Outbound, Family::Exfil | Family::Egress | Family::Command, _) => {
            Stage::Exfiltration
        }
        (Direction::Outbound, Family::Tool, _)
        | (Direction::Outbound, Family::Injection, Surface::ToolDescription) => {
            Stage::ToolIntegrity
        }
        (Direction::Outbound, Family::Injection | Family::Content, _) => Stage::Content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_judge_on_its_own_side() {
        for family in Family::ALL {
            for surface in Surface::ALL {
                let inbound = judge(Direction::Inbound, family, surface);
                assert!(INBOUND.contains(&inbound));
                assert!(OUTBOUND.contains(&judge(Direction::Outbound, family, surface)));
            }
        }
    }
}
