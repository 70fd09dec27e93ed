//! YAML policy: parsed, checked, compiled to indices and globs, evaluated natively
