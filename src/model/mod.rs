//! What a model is.

pub mod format;
