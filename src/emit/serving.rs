//! vLLM and SGLang: the launch line, with the blocks of each stage in the environment.
//!
//! The cut has no flag: `VLLM_PP_LAYER_PARTITION` and `SGLANG_PP_LAYER_PARTITION` take one count for
//! each stage, which must add up to the blocks; both accept a stage of none, which then fails, and a
//! plan has none. A stage takes as many of the visible cards as share blocks, in their order. Options
//! with a default that moves between versions are stated. On several hosts the same command runs on
//! each, with its number; ranks are dealt to hosts in that order, the same number to each, so that they
//! are the stages in their order, and the partition is told to all. Sources: `distributed/utils.py` and
//! `engine/arg_utils.py` of vLLM 0.33.0, `server_args.py` of SGLang 0.5.23. vLLM's were run with
//! 0.32.0 on a CPU (`tests/engines/vllm_serve.py`), within one host; SGLang's were
//! read by its parser and its classes (`tests/engines/sglang_stages.py`).

use crate::cost::serving::Limit;
use crate::emit::{Emission, EmitError, quoted, visible_on};
use crate::hardware::HostId;
use crate::model::source::HubName;
use crate::model::{Checkpoint, Precision};
use crate::plan::{Plan, ServiceSummary};
use crate::workload::KvFormat;

/// What an engine is told in its own words.
struct Words {
    file: &'static str,
    partition: &'static str,
    program: &'static [&'static str],
    model: &'static [&'static str],
    stages: &'static str,
    degree: &'static str,
    context: &'static str,
    fraction: &'static str,
    sequences: &'static str,
    tokens: &'static str,
    bf16: &'static str,
    fp8: &'static str,
    /// Where requests are answered.
    port: u16,
    /// What names the first host to all, where it is met there, and what the others are told besides.
    first: &'static str,
    meeting: Meeting,
    others: &'static [&'static str],
}

/// The port of the first host at which the others meet.
enum Meeting {
    /// Behind its name.
    Behind(u16),
    /// An option of its own, and what it is where nobody says.
    Option(&'static str, u16),
}

const VLLM: Words = Words {
    file: "vllm",
    partition: "VLLM_PP_LAYER_PARTITION",
    program: &["vllm", "serve"],
    model: &[],
    stages: "--pipeline-parallel-size",
    degree: "--tensor-parallel-size",
    context: "--max-model-len",
    fraction: "--gpu-memory-utilization",
    sequences: "--max-num-seqs",
    tokens: "--max-num-batched-tokens",
    bf16: "bfloat16",
    fp8: "fp8",
    port: 8000,
    first: "--master-addr",
    meeting: Meeting::Option("--master-port", 29501),
    others: &["--headless"],
};

const SGLANG: Words = Words {
    file: "sglang",
    partition: "SGLANG_PP_LAYER_PARTITION",
    program: &["python", "-m", "sglang.launch_server"],
    model: &["--model-path"],
    stages: "--pp-size",
    degree: "--tp-size",
    context: "--context-length",
    fraction: "--mem-fraction-static",
    sequences: "--max-running-requests",
    tokens: "--chunked-prefill-size",
    bf16: "bf16",
    fp8: "fp8_e4m3",
    port: 30000,
    first: "--dist-init-addr",
    meeting: Meeting::Behind(20000),
    others: &[],
};

/// SGLang refuses cards of unlike memory that share blocks, unless it is told not to look.
const UNBALANCED: &str = "SGLANG_ENABLE_TP_MEMORY_INBALANCE_CHECK=0";

/// Whether a plan stands alone, or beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// Alone.
    Only,
    /// One of several, of this number.
    Replica(u16),
}

impl Copy {
    /// Behind the name of a file.
    fn suffix(self) -> String {
        match self {
            Self::Only => String::new(),
            Self::Replica(number) => format!("-replica{number}"),
        }
    }

    /// Ports of its own, counted up from the usual one.
    fn port(self, first: u16) -> u16 {
        match self {
            Self::Only => first,
            Self::Replica(number) => first.saturating_add(number),
        }
    }
}

/// vLLM's launch line.
pub(super) fn vllm(plan: &Plan) -> Result<Emission, EmitError> {
    vllm_copy(plan, Copy::Only)
}

/// SGLang's launch line.
pub(super) fn sglang(plan: &Plan) -> Result<Emission, EmitError> {
    sglang_copy(plan, Copy::Only)
}

/// vLLM's launch line of one of several plans.
pub(super) fn vllm_copy(plan: &Plan, copy: Copy) -> Result<Emission, EmitError> {
    emit(plan, (&VLLM, copy), &[])
}

/// SGLang's launch line of one of several plans.
pub(super) fn sglang_copy(plan: &Plan, copy: Copy) -> Result<Emission, EmitError> {
    let used = plan
        .used_gpus()
        .into_iter()
        .filter_map(|name| plan.gpu(name));
    let mut memory = used.map(|id| plan.rig.capacity(id));
    let first = memory.next();
    let are_alike = memory.all(|memory| Some(memory) == first);
    let is_shared = plan
        .service
        .is_some_and(|service| service.tensor_parallel > 1);
    match is_shared && !are_alike {
        true => emit(plan, (&SGLANG, copy), &[UNBALANCED]),
        false => emit(plan, (&SGLANG, copy), &[]),
    }
}

/// Blocks of each stage.
fn partition(plan: &Plan) -> Vec<u32> {
    let runs = plan.device_map.runs.iter();
    runs.map(|run| run.layers.end() - run.layers.start() + 1)
        .collect()
}

/// The launch lines in an engine's words, with more for its environment: one for each host that is
/// used, the first stage's before the others.
fn emit(plan: &Plan, (words, copy): (&Words, Copy), more: &[&str]) -> Result<Emission, EmitError> {
    let stem = format!("{}{}", words.file, copy.suffix());
    let nodes = plan.nodes();
    let name = plan.model.name.replace(['\n', '\r'], " ");
    let (mut launches, mut files) = (Vec::new(), Vec::new());
    for rank in 0..nodes.len() {
        let launch = launch(plan, (words, copy, more), (&nodes, rank))?;
        let host = &plan.rig.hosts()[nodes[rank].0].name;
        let (file, placed) = match (plan.rig.hosts().len(), rank) {
            (1, _) => (stem.clone(), "placed".to_owned()),
            (_, 0) => (stem.clone(), format!("its part on {host} placed")),
            _ => (
                format!("{stem}-{host}"),
                format!("its part on {host} placed"),
            ),
        };
        let script = format!(
            "#!/bin/sh\n# {name} at {}, {placed} by shardplan.\nset -eu\n{launch} \"$@\"\n",
            plan.precision
        );
        launches.push(match plan.rig.hosts().len() {
            1 => launch,
            _ => format!("# on {host}:\n{launch}"),
        });
        files.push((format!("{file}.sh"), script));
    }
    Ok(Emission {
        launch: launches.join("\n"),
        files,
    })
}

/// The launch line of one of the hosts that are used, which are listed in the order of the stages.
fn launch(
    plan: &Plan,
    (words, copy, more): (&Words, Copy, &[&str]),
    (nodes, rank): (&[HostId], usize),
) -> Result<String, EmitError> {
    let ServiceSummary {
        tensor_parallel,
        pipeline,
        memory_fraction,
        ..
    } = plan.service.ok_or(EmitError::NoService)?;
    let limit = Limit::of(&plan.workload.load());
    let mut environment = vec![visible_on(plan, &nodes[rank..=rank])];
    if pipeline > 1 {
        let counts: Vec<_> = partition(plan).iter().map(u32::to_string).collect();
        environment.push(format!("{}={}", words.partition, counts.join(",")));
    }
    environment.extend(more.iter().map(|word| (*word).to_owned()));
    let mut command: Vec<String> = Vec::new();
    command.extend(words.program.iter().map(|word| (*word).to_owned()));
    command.extend(words.model.iter().map(|word| (*word).to_owned()));
    command.extend(model(plan));
    let mut add = |name: &str, value: String| command.extend([name.to_owned(), value]);
    add(words.stages, pipeline.to_string());
    add(words.degree, tensor_parallel.to_string());
    add(words.context, plan.workload.context.to_string());
    add(words.fraction, memory_fraction.to_string());
    add(words.sequences, limit.sequences.to_string());
    add(words.tokens, limit.tokens.to_string());
    add(
        "--kv-cache-dtype",
        cache(plan.workload.kv, words).to_owned(),
    );
    let precision: Precision = plan.precision.parse()?;
    for (name, value) in stored(precision.for_serving()?) {
        add(name, (*value).to_owned());
    }
    if nodes.len() > 1 {
        let first = &plan.rig.hosts()[nodes[0].0].name;
        add("--nnodes", nodes.len().to_string());
        add("--node-rank", rank.to_string());
        match words.meeting {
            Meeting::Behind(port) => {
                add(words.first, format!("{first}:{}", copy.port(port)));
            }
            Meeting::Option(name, port) => {
                add(words.first, first.clone());
                if copy != Copy::Only {
                    add(name, copy.port(port).to_string());
                }
            }
        }
    }
    if copy != Copy::Only && rank == 0 {
        add("--port", copy.port(words.port).to_string());
    }
    if rank > 0 {
        command.extend(words.others.iter().map(|word| (*word).to_owned()));
    }
    let command: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    Ok(format!("{} {}", environment.join(" "), command.join(" ")))
}

/// The format of the cache. 16-bit floats are the model's own, whichever they are.
fn cache(format: KvFormat, words: &Words) -> &'static str {
    match format {
        KvFormat::Bf16 => words.bf16,
        KvFormat::Fp8 => words.fp8,
        // The others are refused.
        KvFormat::F16
        | KvFormat::F32
        | KvFormat::Q8_0
        | KvFormat::Q5_1
        | KvFormat::Q5_0
        | KvFormat::Q4_1
        | KvFormat::Q4_0
        | KvFormat::Iq4Nl => "auto",
    }
}

/// The options of a precision.
fn stored(checkpoint: Checkpoint) -> &'static [(&'static str, &'static str)] {
    match checkpoint {
        Checkpoint::Fp32 => &[("--dtype", "float32")],
        Checkpoint::Bf16 => &[("--dtype", "bfloat16")],
        Checkpoint::Fp16 => &[("--dtype", "float16")],
        Checkpoint::Fp8 => &[("--quantization", "fp8")],
        // What the checkpoint says; the others are refused.
        Checkpoint::Stored | Checkpoint::Int8 | Checkpoint::Nf4 | Checkpoint::Nf4DoubleQuant => &[],
    }
}

/// The model, and its revision where one is stated.
fn model(plan: &Plan) -> Vec<String> {
    match plan.model.name.parse::<HubName>() {
        Ok(name) => {
            let revision = name.stated_revision().map(str::to_owned);
            let revision = revision.map(|revision| ["--revision".to_owned(), revision]);
            let repository = std::iter::once(name.repository.clone());
            repository.chain(revision.into_iter().flatten()).collect()
        }
        Err(_) => vec![plan.model.name.clone()],
    }
}
