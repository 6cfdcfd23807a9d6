//! Plans which layer of a language model goes on which device, and proves it.

pub mod hardware;
pub mod model;
pub mod units;
