//! Plans which layer of a language model goes on which device, and proves it.
//!
//! A model and a rig, a question about them, and its answer:
//!
//! ```
//! use shardplan::cost::Target;
//! use shardplan::scenario::{Scenario, Terms};
//! use shardplan::units::Tokens;
//! use shardplan::workload::Workload;
//! use shardplan::{hardware, model};
//!
//! let model = model::open("llama-2-70b")?;
//! let scenario = Scenario {
//!     rig: hardware::read("2x RTX 3090")?,
//!     target: Target::LlamaCpp,
//!     precision: Target::LlamaCpp.usual_precision(&model),
//!     workload: Workload::of_context(Tokens(4096)),
//!     terms: Terms::default(),
//!     model,
//! };
//! let plan = scenario.plan()?;
//! assert_eq!(plan.device_of(0), Some("cuda0"));
//! assert_eq!(plan.device_of(79), Some("cuda1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules stand on floors, each using only those before it: [`units`]; [`model`], [`hardware`]
//! and [`workload`]; [`cost`]; [`solve`]; [`plan`]; [`emit`]; [`scenario`]; and [`cli`] on top.

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
