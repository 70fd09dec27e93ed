//! Detection rules: YAML format, linter, compiler, and the rules that ship
