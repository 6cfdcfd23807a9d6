//! Plans which layer of a language model goes on which device, and proves it.

pub mod cli;
pub mod cost;
pub mod emit;
pub mod hardware;
pub mod model;
pub mod plan;
pub mod scenario;
pub mod solve;
pub mod units;
pub mod workload;
