//! Audit: record, chain, sign, write, verify
