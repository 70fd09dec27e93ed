//! Configuration in two lives: raw as typed, checked as used
