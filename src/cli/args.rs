//! The command line: what was typed, checked as far as it can be without opening anything.

mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cost::Target;
use crate::model::{Model, Precision};
use crate::scenario::{
    CacheChoice, Candidates, Constraint, Penalties, Terms, usual_context, usual_objectives,
};
use crate::solve::replicas::Number;
use crate::solve::{Backend, Goal, Objective, Stop};
use crate::units::{Bytes, Seconds, Tokens};
use crate::workload::{KvFormat, Workload};

use values::{backend, degree, forbid, replicas, reserve, share};

/// Plans which layer of a language model goes on which device, and proves it.
#[derive(Debug, Parser)]
#[command(name = "shardplan", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find the fastest plan that fits, with its proof
    Plan(PlanArguments),
    /// Write what a framework reads, from a plan
    Emit(EmitArguments),
    /// Look into a model
    #[command(subcommand)]
    Model(ModelCommand),
    /// Look at a rig, or detect this one
    #[command(subcommand)]
    Rig(RigCommand),
    /// Place the operators of any acyclic graph
    Place(PlaceArguments),
    /// Plan for several rigs, contexts and precisions side by side
    Whatif(WhatifArguments),
}

/// What a plan is for, besides model and rig.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// The framework: llama.cpp, transformers, vllm or sglang
    #[arg(long, default_value_t)]
    pub target: Target,
    /// Sequences at once, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub sequences: u32,
    /// Format of keys and values: f16, q8_0, q4_0, …; fp8 (vllm, sglang); auto for the most precise
    /// one that needs no more offloading than the smallest
    #[arg(long, value_name = "TYPE|auto", default_value = "f16")]
    pub kv: CacheChoice,
    /// Tokens of a prompt computed at once (llama.cpp's -ub); 512 where it is left out, 2048 for vllm
    /// and sglang
    #[arg(long, value_name = "N")]
    pub ubatch: Option<Tokens>,
    /// GPUs that share every block (vllm, sglang); every number is tried where it is left out
    #[arg(long, value_name = "N", value_parser = degree)]
    pub tp: Option<Constraint>,
    /// A LoRA adapter: a GGUF file for llama.cpp, PEFT's folder for transformers; may be repeated
    #[arg(long, value_name = "FILE")]
    pub lora: Vec<PathBuf>,
    /// A multimodal projector, a GGUF file (llama.cpp)
    #[arg(long, value_name = "FILE.gguf")]
    pub mmproj: Option<PathBuf>,
    /// A draft model for speculative decoding, named as the model is (llama.cpp)
    #[arg(long, value_name = "MODEL")]
    pub draft: Option<String>,
    /// Load the model's own blocks that predict tokens further ahead, to speculate (llama.cpp)
    #[arg(long, conflicts_with = "draft")]
    pub mtp: bool,
    /// What to leave free on a device, such as cuda0=1GiB; may be repeated
    #[arg(long, value_name = "DEVICE=SIZE", value_parser = reserve)]
    pub reserve: Vec<(String, Bytes)>,
    /// A share of all memory to leave free, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub margin: Option<f64>,
    /// A part on a device, such as "layers 0-10=cuda1", "head=cuda0" or "layer 7=cpu"; may be repeated
    #[arg(long, value_name = "PART=DEVICE", value_parser = Constraint::pin)]
    pub pin: Vec<Constraint>,
    /// A device that holds nothing; cpu: nothing is offloaded; may be repeated
    #[arg(long, value_name = "DEVICE", value_parser = forbid)]
    pub forbid: Vec<Constraint>,
    /// An option of llama.cpp that is fixed, such as ngl=60
    #[arg(long, value_name = "OPTION=VALUE", value_parser = Constraint::fix)]
    pub fix: Vec<Constraint>,
    /// What a plan is best at: decode, prefill, request, throughput, context, devices, headroom,
    /// quality, kv or serving; several, such as devices,decode, one after the other; decode where it
    /// is left out, serving for vllm and sglang
    #[arg(long, value_delimiter = ',', value_name = "GOAL,GOAL…")]
    pub objective: Vec<Objective>,
    /// Tokens of the prompt that prefill and request speak of; the least of 2048 and three quarters
    /// of the context where it is left out
    #[arg(long, value_name = "N")]
    pub prompt: Option<Tokens>,
    /// Tokens of the answer that request speaks of; the least of 512 and a quarter of the context
    /// where it is left out
    #[arg(long, value_name = "N")]
    pub answer: Option<Tokens>,
    /// The most time that a token may take, such as 50ms
    #[arg(long, value_name = "TIME")]
    pub max_time_per_token: Option<Seconds>,
    /// A table of what precisions cost in quality, for models without a published one
    #[arg(long, value_name = "TABLE.yaml")]
    pub penalties: Option<PathBuf>,
    /// How long a search may go on before it gives the best so far, such as 5s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub time_limit: Seconds,
    /// Solver of the linear program
    #[arg(long, value_parser = backend, default_value = "microlp", value_name = "NAME")]
    pub solver: Backend,
    /// Data instead of text
    #[arg(long)]
    pub json: bool,
}

impl LoadArguments {
    /// The workload with a context of its own.
    pub fn workload(&self, context: Tokens) -> Workload {
        Workload {
            context,
            sequences: self.sequences,
            kv_format: match self.kv {
                CacheChoice::Of(format) => format,
                CacheChoice::Auto => KvFormat::F16,
            },
            ubatch: self.ubatch.unwrap_or(self.target.usual_ubatch()),
        }
    }

    /// The context where none is named: for the longest one, all that the model knows.
    pub fn usual_context(&self, model: &Model) -> Tokens {
        match self.objective.first() {
            Some(Objective::Context) => model.dimensions.context,
            _ => usual_context(model),
        }
    }

    /// What a plan is best at, what is fixed, and who solves.
    pub fn terms(&self, context: Tokens, penalties: Option<Penalties>, stop: &Stop) -> Terms {
        let fixed = self.pin.iter().chain(&self.forbid).chain(&self.fix);
        let fixed = fixed.chain(&self.tp);
        Terms {
            constraints: fixed.cloned().collect(),
            goal: Goal {
                objectives: match self.objective.as_slice() {
                    [] => usual_objectives(self.target),
                    named => named.to_vec(),
                },
                ..Goal::of_request(context, self.prompt, self.answer)
            },
            margin: self.margin.unwrap_or_default(),
            max_time_per_token: self.max_time_per_token,
            penalties,
            mix: None,
            replicas: Number::default(),
            caches: self.kv.formats(self.target),
            backend: self.solver,
            stop: stop.clone(),
        }
    }
}

/// `shardplan plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// A name such as llama-2-70b, a GGUF file, a config.json, a folder, hf:org/name, hf:org/name:Q4_K_M,
    /// or ollama:name:tag
    pub model: String,
    /// A rig file, or text such as "2x RTX 3090, ram 64 GiB"
    #[arg(long)]
    pub rig: String,
    /// How weights are stored: q4_k_m, fp16, nf4, …; what the file has where it is left out
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Recipes of which every block may have its own, for the best quality that fits (llama.cpp, a
    /// GGUF to be made): q4_k_m,q6_k,q8_0, or auto for all that the table of penalties has
    #[arg(long, value_name = "P,P…|auto", conflicts_with_all = ["precision", "robust"])]
    pub mix: Option<Candidates>,
    /// Tokens of one sequence, such as 4096 or 32k; the least of 4096 and what the model was
    /// trained for where it is left out
    #[arg(long, value_name = "N")]
    pub context: Option<Tokens>,
    /// Say how the plan stands up to estimates that are wrong
    #[arg(long)]
    pub robust: bool,
    /// Deal the cards out to so many pipelines, each with the whole model (vllm, sglang; objectives
    /// throughput, kv and serving); auto for as many as are best
    #[arg(long, value_name = "N|auto", value_parser = replicas, default_value = "1", conflicts_with_all = ["robust", "mix"])]
    pub replicas: Number,
    /// Write the plan as YAML to this file; - writes it to standard output
    #[arg(short, long, value_name = "PLAN.yaml")]
    pub output: Option<PathBuf>,
    /// The rest.
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `shardplan emit`.
#[derive(Debug, Args)]
pub struct EmitArguments {
    /// The plan
    pub plan: PathBuf,
    /// The framework, the one that the plan was made for
    #[arg(long)]
    pub target: Target,
    /// Write the files into this folder instead of showing them
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// `shardplan model …`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show the parts of a model and their bytes at each precision
    Inspect(InspectArguments),
}

/// `shardplan model inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// A name such as llama-2-70b, a GGUF file, a config.json, a folder, hf:org/name, hf:org/name:Q4_K_M,
    /// or ollama:name:tag
    pub model: String,
    /// A precision to show; may be repeated; the usual ones where it is left out, with --json all
    #[arg(long)]
    pub precision: Vec<Precision>,
    /// The framework whose cache is shown
    #[arg(long, default_value_t)]
    pub target: Target,
    /// Data instead of text
    #[arg(long)]
    pub json: bool,
    /// The layer graph instead, with bytes at the first precision
    #[arg(long, conflicts_with = "json")]
    pub graph: Option<GraphFormat>,
    /// With --json: every tensor too
    #[arg(long, requires = "json")]
    pub tensors: bool,
}

/// `shardplan rig …`.
#[derive(Debug, Subcommand)]
pub enum RigCommand {
    /// Show what a rig is understood as
    Show(ShowArguments),
    /// Ask the driver what is in this machine
    Detect(DetectArguments),
}

/// `shardplan rig show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// A rig file, or text such as "2x RTX 3090, ram 64 GiB"
    pub rig: String,
    /// Data instead of text
    #[arg(long)]
    pub json: bool,
}

/// `shardplan rig detect`.
#[derive(Debug, Args)]
pub struct DetectArguments {
    /// Write the rig to this file instead of standard output
    #[arg(short, long, value_name = "RIG.yaml")]
    pub output: Option<PathBuf>,
    /// The NVML library to ask instead of the driver's own
    #[arg(long, value_name = "PATH")]
    pub nvml_library: Option<PathBuf>,
    /// Data instead of YAML
    #[arg(long)]
    pub json: bool,
}

/// `shardplan place`.
#[derive(Debug, Args)]
pub struct PlaceArguments {
    /// The graph: a YAML document of nodes and edges
    pub graph: PathBuf,
    /// A rig file, or text such as "2x RTX 3090, ram 64 GiB"
    #[arg(long)]
    pub rig: String,
    /// What is to be small: throughput, the time of the busiest device; or latency, of one sample
    #[arg(long, default_value = "throughput")]
    pub objective: GraphObjective,
    /// Any operator on any device; else each device has one stretch of the graph
    #[arg(long)]
    pub scattered: bool,
    /// What to leave free on a device, such as cuda0=1GiB; may be repeated
    #[arg(long, value_name = "DEVICE=SIZE", value_parser = reserve)]
    pub reserve: Vec<(String, Bytes)>,
    /// A share of all memory to leave free, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub margin: Option<f64>,
    /// How long the search may go on before it gives the best so far, such as 5s
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub time_limit: Seconds,
    /// Write the placement to this file instead of standard output
    #[arg(short, long, value_name = "PLACEMENT.yaml")]
    pub output: Option<PathBuf>,
}

/// What a placement of a graph is best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphObjective {
    /// The time of the busiest device
    Throughput,
    /// The time of one sample
    Latency,
}

/// `shardplan whatif`.
#[derive(Debug, Args)]
pub struct WhatifArguments {
    /// A name such as llama-2-70b, a GGUF file, a config.json, a folder, hf:org/name, hf:org/name:Q4_K_M,
    /// or ollama:name:tag
    pub model: String,
    /// A rig file, or text such as "2x RTX 3090, ram 64 GiB"; may be repeated
    #[arg(long, required = true)]
    pub rig: Vec<String>,
    /// Contexts, such as 4k,32k
    #[arg(long, value_delimiter = ',', value_name = "N,N…")]
    pub context: Vec<Tokens>,
    /// Precisions, such as q4_k_m,q8_0
    #[arg(long, value_delimiter = ',', value_name = "P,P…")]
    pub precision: Vec<Precision>,
    /// Recipes of which every block may have its own, the same for every row: q4_k_m,q6_k,q8_0, or
    /// auto for all that the table of penalties has
    #[arg(long, value_name = "P,P…|auto", conflicts_with = "precision")]
    pub mix: Option<Candidates>,
    /// The rest.
    #[command(flatten)]
    pub load: LoadArguments,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz
    Dot,
    /// For Markdown pages
    Mermaid,
    /// For `shardplan place`: bytes that a token reads and passes on
    Yaml,
}
