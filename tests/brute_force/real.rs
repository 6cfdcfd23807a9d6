//! The accountings of llama.cpp and transformers on real families, cut to a few blocks, on cards
//! that hold a random share of them.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use shardplan::cost::{Accounting, Layout, Place, Position, Span, Target};
use shardplan::hardware::{Device, DeviceId, HostId, Machine, Network, Rig};
use shardplan::model::{Checkpoint, Model, Origin, Precision, config};
use shardplan::scenario::{Scenario, Terms};
use shardplan::solve::{Ask, Goal, Objective};
use shardplan::units::{Bytes, BytesPerSecond, Seconds, Tokens};
use shardplan::workload::Workload;

use crate::toy::{card, ram};
use crate::{agrees, seeded};

/// Families of every kind: gated, parallel and plain blocks; heads apart and tied; experts, in all
/// blocks and behind a dense one.
fn configs() -> [Value; 8] {
    [
        json!({"model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816,
            "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
            "vocab_size": 32000, "max_position_embeddings": 4096}),
        json!({"model_type": "llama", "hidden_size": 512, "intermediate_size": 1408,
            "num_hidden_layers": 3, "num_attention_heads": 8, "vocab_size": 128256,
            "max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3"}}),
        json!({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 4, "num_attention_heads": 14, "num_key_value_heads": 2,
            "vocab_size": 50000, "tie_word_embeddings": true}),
        json!({"model_type": "gpt_neox", "hidden_size": 1024, "intermediate_size": 4096,
            "num_hidden_layers": 5, "num_attention_heads": 16, "vocab_size": 65024,
            "max_position_embeddings": 2048}),
        // SGLang has it in one stage: its head is the embedding.
        json!({"model_type": "phi3", "hidden_size": 1024, "intermediate_size": 4096,
            "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4,
            "vocab_size": 200064, "tie_word_embeddings": true, "max_position_embeddings": 4096}),
        json!({"model_type": "mixtral", "hidden_size": 1024, "intermediate_size": 1024,
            "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4,
            "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
            "max_position_embeddings": 4096}),
        json!({"model_type": "deepseek_v2", "hidden_size": 1024, "intermediate_size": 2048,
            "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
            "kv_lora_rank": 256, "q_lora_rank": null, "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64, "v_head_dim": 128, "first_k_dense_replace": 1,
            "moe_intermediate_size": 512, "n_routed_experts": 16, "n_shared_experts": 1,
            "num_experts_per_tok": 2, "vocab_size": 32000, "max_position_embeddings": 4096}),
        // SGLang keeps a cache for all blocks on each stage.
        json!({"model_type": "minimax_m2", "hidden_size": 1024, "intermediate_size": 512,
            "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
            "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 2,
            "vocab_size": 32000, "max_position_embeddings": 4096}),
    ]
}

/// The number of a small model.
pub(crate) fn models() -> std::ops::Range<usize> {
    0..configs().len()
}

/// The number of a small mixture of experts.
pub(crate) fn mixtures() -> std::ops::Range<usize> {
    5..configs().len()
}

/// The small model of that number.
fn model(number: usize) -> Model {
    let origin = Origin::Config("small".to_owned());
    config::model("small", origin, &configs()[number]).expect("the configurations are complete")
}

/// A target and a precision that it loads.
pub(crate) fn targets() -> impl Strategy<Value = (Target, Precision)> {
    let precision = |name: &str| name.parse().expect("the names are those of precisions");
    prop::sample::select(vec![
        (Target::LlamaCpp, precision("q4_k_m")),
        (Target::LlamaCpp, precision("fp16")),
        (Target::Transformers, precision("fp16")),
        (Target::Transformers, precision("nf4")),
        (Target::Vllm, precision("fp16")),
        (Target::Sglang, precision("fp8")),
    ])
}

/// What a rig has, as shares of what the model needs: small enough to make the solver work.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// Of each card: how much of the model it holds, in percent, and its bandwidth in GB/s.
    pub(crate) cards: Vec<(u64, u64)>,
    /// Of RAM, in the same way.
    pub(crate) ram: Option<(u64, u64)>,
}

pub(crate) fn shares(most_cards: usize) -> impl Strategy<Value = Shares> {
    // Few values, so that some cards are alike.
    let card = (
        prop::sample::select(vec![8_u64, 20, 33, 50, 70, 104]),
        prop::sample::select(vec![300_u64, 900]),
    );
    let ram = (
        prop::sample::select(vec![5_u64, 70, 130]),
        prop::sample::select(vec![2_u64, 40]),
    );
    let ram = prop::option::weighted(0.6, ram);
    (vec(card, 1..=most_cards), ram).prop_map(|(cards, ram)| Shares { cards, ram })
}

/// One sequence of 2,048 tokens.
fn workload() -> Workload {
    Workload::of_context(Tokens(2048))
}

/// The rig of these shares: a card of 0 % holds the least that any stage takes, one of 100 % all.
fn rig(shares: &Shares, model: &Model, target: Target, precision: Precision) -> Rig {
    let host = Some(ram(Bytes::gib(64), BytesPerSecond(40e9)));
    let roomy = card(0, Bytes::gib(64), BytesPerSecond(900e9));
    let roomy = Rig::new(vec![roomy], host).expect("64 GiB are plausible");
    let accounting = target
        .accounting(model, precision, &roomy, &workload())
        .expect("the pairs are of what targets load");
    let n_units = accounting.units().len();
    let needs = |units, position| {
        let span = Span {
            place: Place::Device(DeviceId(0)),
            units,
            streamed: 0..0,
            position,
        };
        let stage = accounting.stage(Layout::Sequential, &span);
        stage.device.total()
    };
    // Engines that serve are told to leave a part of each card alone.
    let whole = match target.server() {
        Some(_) => 1.09,
        None => 1.0,
    };
    let all = needs(0..n_units, Position::First).scale(whole);
    let least = needs(1..2, Position::Later).scale(whole);
    let weights = all.saturating_sub(least);
    let cards = shares.cards.iter().enumerate();
    let devices = cards
        .map(|(index, (share, gigabytes))| {
            let memory = least + Bytes(weights.0 / 100 * share);
            card(index, memory, BytesPerSecond(*gigabytes as f64 * 1e9))
        })
        .collect();
    let on_host = accounting.host_base(Layout::OFFLOADED).total();
    let host = shares.ram.map(|(share, gigabytes)| {
        let memory = on_host + Bytes(weights.0 / 100 * share);
        shardplan::hardware::Host {
            // Slow RAM has a disk behind it.
            disk: (gigabytes == 2).then_some(BytesPerSecond(1e9)),
            ..ram(memory, BytesPerSecond(gigabytes as f64 * 1e9))
        }
    });
    Rig::new(devices, host).expect("the model's needs are plausible")
}

/// The question that a person would ask about such a rig.
pub(crate) fn scenario(
    number: usize,
    (target, precision): (Target, Precision),
    shares: &Shares,
) -> Scenario {
    let model = model(number);
    Scenario {
        rig: rig(shares, &model, target, precision),
        model,
        target,
        precision,
        workload: workload(),
        terms: Terms::default(),
    }
}

fn accounting<'a>(
    model: &Model,
    target: Target,
    precision: Precision,
    rig: &'a Rig,
) -> Box<dyn Accounting + 'a> {
    let accounting = target.accounting(model, precision, rig, &workload());
    accounting.expect("the pairs are of what targets load")
}

/// The cards behind so many first ones on a host of their own, if there are any, and a slow network.
fn on_two_hosts(rig: &Rig, first: usize, megabytes: u64) -> Rig {
    let n_hosts = if first < rig.devices().len() { 2 } else { 1 };
    let devices = rig
        .devices()
        .iter()
        .enumerate()
        .map(|(index, device)| Device {
            host: HostId(usize::from(index >= first)),
            ..device.clone()
        });
    let machines = (0..n_hosts).map(|index| Machine {
        name: format!("host{index}"),
        ram: rig.host().filter(|_| index == 0).cloned(),
        network: Some(Network {
            rate: BytesPerSecond(megabytes as f64 * 1e6),
            latency: Seconds(1e-4),
        }),
    });
    Rig::of_hosts(devices.collect(), machines.collect()).expect("the rig was plausible")
}

proptest! {
    #![proptest_config(seeded(800))]

    #[test]
    fn real_models_cut_small_get_the_optimum_of_every_plan(
        number in models(),
        (target, precision) in targets(),
        shares in shares(3),
    ) {
        let model = model(number);
        let rig = rig(&shares, &model, target, precision);
        agrees(accounting(&model, target, precision, &rig).as_ref(), &Ask::default())?;
    }

    #[test]
    fn engines_serve_as_the_best_of_all_plans_in_every_group_does(
        number in models(),
        target in prop::sample::select(vec![Target::Vllm, Target::Sglang]),
        objective in prop::sample::select(vec![Objective::Kv, Objective::Serving]),
        shares in shares(3),
    ) {
        let (model, precision) = (model(number), Precision::Checkpoint(Checkpoint::Fp16));
        let rig = rig(&shares, &model, target, precision);
        let ask = Ask {
            goal: Goal { objectives: vec![objective], ..Goal::default() },
            ..Ask::default()
        };
        agrees(accounting(&model, target, precision, &rig).as_ref(), &ask)?;
    }

    #[test]
    fn engines_on_two_hosts_serve_as_the_best_of_all_plans_does(
        number in models(),
        target in prop::sample::select(vec![Target::Vllm, Target::Sglang]),
        objective in prop::sample::select(vec![Objective::Kv, Objective::Serving, Objective::Decode]),
        shares in shares(4),
        (megabytes, first) in (1..=50_u64, 0..=3_usize),
    ) {
        let (model, precision) = (model(number), Precision::Checkpoint(Checkpoint::Fp16));
        let rig = on_two_hosts(&rig(&shares, &model, target, precision), first, megabytes);
        let ask = Ask {
            goal: Goal { objectives: vec![objective], ..Goal::default() },
            ..Ask::default()
        };
        agrees(accounting(&model, target, precision, &rig).as_ref(), &ask)?;
    }
}
