//! One scan over every string of a message: views, prefilter, confirm, validate, redact
