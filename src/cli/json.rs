//! Answers as JSON: the counterparts of what `render` shows, sizes in bytes, times in seconds.

mod fleet;

use serde_json::{Map, Value, json};

use super::model::Inspection;
use super::plan::Refusal;
use super::render;
use super::whatif::Row;
use crate::cost::Matrices;
use crate::cost::paged::Engine;
use crate::hardware::{Machine, Rig};
use crate::model::Tensor;
use crate::plan::document::layers;
use crate::plan::{
    BaselineSummary, CrossingUse, DeviceUse, ExtraUse, LayoutName, Plan, ProofSummary,
};
use crate::scenario::{Fix, Robustness, Scenario, ScenarioError, TooSlow};
use crate::solve::Infeasible;
use crate::units::{Bytes, Tokens};

pub(super) use fleet::{fleet, no_replicas};

fn text(value: &Value) -> String {
    // Numbers here are finite and keys are strings, so nothing can fail.
    serde_json::to_string_pretty(value).expect("a value is always JSON") + "\n"
}

pub(super) fn plan(plan: &Plan, robustness: Option<&Robustness>, seconds: f64) -> String {
    let mut value = plan_value(plan, seconds);
    if let Some(robustness) = robustness {
        let worst = robustness.worst.iter();
        let worst: Map<_, _> = worst
            .map(|(kind, rate)| (kind.clone(), json!(rate)))
            .collect();
        value["robustness"] = json!({
            "tried": robustness.n_tried,
            "regret": robustness.regret,
            "worst": worst,
            "memory": robustness.memory,
        });
    }
    text(&value)
}

fn proof(proof: &ProofSummary, seconds: f64) -> Value {
    let mut value = json!({
        "status": proof.status.name(),
        "objective": proof.objective.number(),
        "bound": proof.bound.number(),
        "gap": proof.gap,
        "solver": proof.solver,
        "seconds": seconds,
    });
    if !proof.goal.is_empty() {
        value["goal"] = json!(proof.goal);
    }
    if !proof.given.is_empty() {
        value["given"] = json!(proof.given);
    }
    value
}

fn plan_value(plan: &Plan, seconds: f64) -> Value {
    let runs = plan.device_map.runs.iter();
    let runs: Vec<_> = runs
        .map(|run| json!({"layers": layers::text(&run.layers), "device": run.device}))
        .collect();
    let mut value = json!({
        "version": crate::plan::VERSION,
        "status": plan.proof.status.name(),
        "model": plan.model,
        "target": plan.target,
        "precision": plan.precision,
        "mix": plan.mix,
        "workload": plan.workload,
        "layout": LayoutName::of(plan.layout),
        "device_map": {"runs": runs, "modules": plan.device_map.modules},
        "devices": plan.devices.iter().map(device).collect::<Vec<_>>(),
        "estimate": plan.estimate,
        "proof": proof(&plan.proof, seconds),
        "baselines": plan.baselines.iter().map(|it| baseline(plan, it)).collect::<Vec<_>>(),
    });
    let parts = plan.layout.parts();
    if parts.n_blocks > 0 {
        let key = match parts.matrices {
            Matrices::Experts => "experts_on_cpu",
            Matrices::FeedForward => "feed_forward_on_cpu",
        };
        value[key] = json!(parts.n_blocks);
    }
    if let Some(disk) = plan.disk {
        value["disk"] = json!({"weights": disk.weights.0, "read_a_token": disk.read_a_token.0});
    }
    if let Some(service) = plan.service {
        value["service"] = json!(service);
    }
    if !plan.extras.is_empty() {
        value["extras"] = plan.extras.iter().map(extra).collect();
    }
    if !plan.crossings.is_empty() {
        value["crossings"] = plan.crossings.iter().map(crossing).collect();
    }
    value
}

fn baseline(plan: &Plan, rule: &BaselineSummary) -> Value {
    let mut value = json!({"name": rule.name, "feasible": rule.feasible});
    if let Some(rate) = rule.decode_tokens_per_second {
        value["decode_tokens_per_second"] = json!(rate);
    }
    if let Some(worth) = rule.worth {
        value["worth"] = json!(worth.number());
    }
    if let Some(gain) = plan.gain(rule) {
        value["gain"] = json!(gain);
    }
    value
}

fn device(device: &DeviceUse) -> Value {
    json!({
        "name": device.name,
        "model": device.model,
        "capacity": device.capacity.0,
        "weights": device.memory.weights.0,
        "kv_cache": device.memory.kv_cache.0,
        "compute": device.memory.compute.0,
        "overhead": device.memory.overhead.0,
        "free": device.free().0,
    })
}

fn extra(extra: &ExtraUse) -> Value {
    json!({
        "kind": extra.kind.name(),
        "file": extra.file,
        "device": extra.device,
        "weights": extra.weights.0,
        "kv_cache": extra.kv_cache.0,
        "compute": extra.compute.0,
    })
}

pub(super) fn infeasible(scenario: &Scenario, refusal: &Refusal, seconds: f64) -> String {
    let Refusal {
        infeasible,
        conflict,
        fixes,
    } = refusal;
    let reasons: Vec<_> = infeasible
        .reasons
        .iter()
        .map(|reason| {
            json!({
                "device": render::place(&scenario.rig, reason.place),
                "missing": reason.missing.0,
                "capacity": reason.capacity.0,
            })
        })
        .collect();
    let mut value = json!({
        "status": "infeasible",
        "proven": infeasible.is_proven(),
        "proof": no_plan(infeasible, seconds),
        "reasons": reasons,
    });
    if scenario.in_one_stage().is_some() {
        value["one_stage"] = json!(true);
    }
    if !conflict.is_empty() {
        value["conflict"] = conflict.iter().map(|it| json!(it.to_string())).collect();
    }
    value["fixes"] = fixes.iter().map(fix).collect();
    text(&value)
}

/// That there is no plan, how it is known, and how long that took, without what was tried besides.
fn no_plan(infeasible: &Infeasible, seconds: f64) -> Value {
    let mut value = json!({"status": "unknown", "seconds": seconds});
    if let Some(ruling) = infeasible.ruling() {
        value = json!({"status": "infeasible", "solver": ruling.name(), "seconds": seconds});
    }
    value
}

pub(super) fn too_slow(too_slow: &TooSlow, seconds: f64) -> String {
    text(&json!({
        "status": "too_slow",
        "proven": too_slow.is_proven,
        "most": too_slow.most.0,
        "fastest": too_slow.fastest.0,
        "proof": {
            "status": if too_slow.is_proven { "too_slow" } else { "unknown" },
            "seconds": seconds,
        },
    }))
}

fn fix(fix: &Fix) -> Value {
    let (lever, value) = match fix {
        Fix::Context(context) => ("context", json!(context.0)),
        Fix::Kv(format) => ("kv", json!(format.name())),
        Fix::Sequences(sequences) => ("sequences", json!(sequences)),
        Fix::Precision(precision) => ("precision", json!(precision.to_string())),
        Fix::Ram(ram) => ("ram", json!(ram.0)),
        Fix::AnotherCard(model) => ("another_card", json!(model)),
        Fix::Without(constraint) => ("without", json!(constraint.to_string())),
        Fix::Target(target, ..) => ("target", json!(target.name())),
    };
    let mut entry = json!({"lever": lever, "value": value, "text": render::fix(fix)});
    if let Fix::Target(_, precision, _) = fix {
        entry["precision"] = json!(precision.to_string());
    }
    entry
}

pub(super) fn whatif(rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut value = json!({
                "rig": row.rig,
                "context": row.context.0,
                "precision": row.precision,
            });
            let answer = match &row.answer {
                Ok(plan) => plan_value(plan, row.seconds),
                Err(ScenarioError::Infeasible(infeasible)) => json!({
                    "status": "infeasible",
                    "proven": infeasible.is_proven(),
                    "missing": infeasible.missing().0,
                    "proof": no_plan(infeasible, row.seconds),
                }),
                Err(error) => json!({
                    "status": "refused",
                    "error": error.to_string(),
                    "proof": {"status": "refused", "seconds": row.seconds},
                }),
            };
            value["fits"] = json!(row.answer.is_ok());
            value["plan"] = answer;
            value
        })
        .collect();
    text(&json!({"scenarios": rows}))
}

fn crossing(crossing: &CrossingUse) -> Value {
    json!({
        "before": crossing.before,
        "from": crossing.from,
        "to": crossing.to,
        "bytes": crossing.bytes.0,
        "seconds": crossing.time.0,
    })
}

pub(super) fn rig(rig: &Rig) -> String {
    let devices: Vec<_> = rig
        .devices()
        .iter()
        .map(|device| {
            json!({
                "name": device.name,
                "model": device.model,
                "class": device.class,
                "memory": device.memory.0,
                "reserve": device.reserve.0,
                "capacity": device.capacity().0,
                "bandwidth": device.bandwidth.0,
                "pcie": device.link.to_string(),
                "compute_capability": device.compute_capability.map(|c| c.to_string()),
                "pci": device.pci,
                "source": device.source,
            })
        })
        .collect();
    let host = rig.host().map(|host| {
        json!({
            "name": host.name,
            "cpu": host.cpu,
            "cores": host.cores,
            "memory": host.memory.0,
            "reserve": host.reserve.0,
            "capacity": host.capacity().0,
            "bandwidth": host.bandwidth.0,
            "disk": host.disk.map(|rate| rate.0),
            "source": host.source,
        })
    });
    let mut value = json!({"devices": devices, "host": host});
    if rig.hosts().len() > 1 {
        for (value, device) in value["devices"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .zip(rig.devices())
        {
            value["host"] = json!(rig.hosts()[device.host.0].name);
        }
        value["hosts"] = rig.hosts().iter().map(machine).collect();
    }
    text(&value)
}

fn machine(machine: &Machine) -> Value {
    let network = machine.network;
    json!({
        "name": machine.name,
        "memory": machine.ram.as_ref().map(|ram| ram.memory.0),
        "network": network.map(|it| json!({"rate": it.rate.0, "latency": it.latency.0})),
    })
}

pub(super) fn inspection(inspection: &Inspection) -> String {
    let by_precision = |sizes: Vec<Bytes>| {
        let entries = inspection.precisions.iter().cloned().zip(sizes);
        entries
            .map(|(name, size)| (name, json!(size.0)))
            .collect::<Map<_, _>>()
    };
    let nodes: Vec<_> = inspection
        .graph
        .nodes()
        .map(|node| {
            json!({
                "name": node.name,
                "kind": node.kind.name(),
                "parameters": inspection.parameters(&node.tensors),
                "bytes": by_precision(inspection.bytes(node)),
                "kv_bytes_per_token": inspection.kv_bytes_per_token(node).0,
                "tied": node.tied,
            })
        })
        .collect();
    let edges: Vec<_> = inspection
        .graph
        .edges()
        .map(|(from, to, size)| json!({"from": from, "to": to, "bytes_per_token": size.0}))
        .collect();
    let model = &inspection.model;
    let modules: Vec<_> = inspection
        .modules()
        .into_iter()
        .map(|(name, tensors)| {
            json!({
                "name": name,
                "parameters": inspection.parameters(&tensors),
                "bytes": by_precision(inspection.sum(&tensors)),
            })
        })
        .collect();
    let contexts = [1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072].map(Tokens);
    let caches =
        contexts.map(|context| (context.0.to_string(), json!(inspection.cache(context).0)));
    let paged = Engine::ALL.map(|engine| {
        let caches = contexts.map(|it| {
            (
                it.0.to_string(),
                json!(inspection.paged_cache(engine, it).0),
            )
        });
        let caches: Map<_, _> = caches.into_iter().collect();
        (engine.name().to_owned(), Value::Object(caches))
    });
    let mut value = json!({
        "name": model.name,
        "architecture": model.architecture,
        "tied": model.tied,
        "nodes": nodes,
        "edges": edges,
        "totals": {
            "parameters": model.parameters(),
            "bytes": by_precision(inspection.total()),
        },
        "modules": modules,
        "cache_bytes": caches.into_iter().collect::<Map<_, _>>(),
        "paged_cache_bytes": paged.into_iter().collect::<Map<_, _>>(),
    });
    if inspection.tensors {
        value["tensors"] = model.tensors.iter().map(tensor).collect();
    }
    text(&value)
}

fn tensor(tensor: &Tensor) -> Value {
    json!({
        "name": tensor.hf_name,
        "gguf": tensor.gguf_name,
        "kind": tensor.kind,
        "shape": tensor.dims,
        "trained": tensor.is_trained(),
        "checkpoint": tensor.checkpoint,
        "format": tensor.stored.map(|format| format.name()),
    })
}
