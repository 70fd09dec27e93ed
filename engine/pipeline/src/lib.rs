//! The corridor: every message, both directions, stage by stage
