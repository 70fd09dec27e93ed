//! Criterion benches of the corridor and its rooms
