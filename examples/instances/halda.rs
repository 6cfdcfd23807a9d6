//! `distilp`: JSON profiles of devices and models, and `known_results.csv`.
//!
//! The cost is that of distilp's `halda_p_solver.py` and `dense_common.py` (commit 43eda2e): time of
//! a layer on CPU and GPU, overflow of memory paid by reading from disk, a cycle time that covers
//! the device's own work and half of its fetching. Its choices of a window are made here, the least
//! of them is the window's price; a device but the first may have no window, where distilp gives
//! every device one layer at least.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::solve::ring::{self, Window};
use shardplan::units::Seconds;

use crate::table::{Answer, Table};

type Speeds = BTreeMap<String, BTreeMap<String, f64>>;

#[derive(Clone, Deserialize)]
#[allow(non_snake_case, reason = "the names of the files")]
struct Device {
    os_type: String,
    is_head: bool,
    is_unified_mem: bool,
    has_cuda: bool,
    has_metal: bool,
    scpu: Speeds,
    T_cpu: f64,
    t_kvcpy_cpu: f64,
    t_kvcpy_gpu: f64,
    t_ram2vram: f64,
    t_vram2ram: f64,
    t_comm: f64,
    s_disk: f64,
    d_avail_ram: f64,
    sgpu_cuda: Option<Speeds>,
    sgpu_metal: Option<Speeds>,
    T_cuda: Option<f64>,
    T_metal: Option<f64>,
    d_avail_cuda: Option<f64>,
    d_avail_metal: Option<f64>,
    c_cpu: f64,
    c_gpu: f64,
    d_bytes_can_swap: f64,
    d_swap_avail: f64,
}

#[derive(Deserialize)]
#[allow(non_snake_case, reason = "the names of the files")]
struct Model {
    L: usize,
    b: Vec<f64>,
    b_i: Vec<f64>,
    b_o: Vec<f64>,
    hk: f64,
    ek: f64,
    hv: f64,
    ev: f64,
    n_kv: f64,
    V: f64,
    f_q: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    f_out: BTreeMap<String, BTreeMap<String, f64>>,
    quantization: String,
}

/// Solves every case. Values are seconds for a token.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let profiles = folder.join("test/profiles");
    for line in fs::read_to_string(folder.join("known_results.csv"))?
        .lines()
        .skip(1)
    {
        let fields: Vec<&str> = line.split(',').collect();
        let [case, devices, model, bits, ..] = fields[..] else {
            continue;
        };
        let known = fields.iter().rev().nth(1).copied().unwrap_or("none");
        let model: Model = serde_json::from_str(&fs::read_to_string(profiles.join(model))?)?;
        let mut rig: Vec<Device> = Vec::new();
        let (names, times) = match devices.strip_suffix(" x2") {
            Some(names) => (names, 2),
            None => (devices, 1),
        };
        for _ in 0..times {
            let mut place = Path::new("").to_owned();
            for name in names.split(" + ") {
                // A second name stands in the folder of the first.
                place = match name.contains('/') {
                    true => name.into(),
                    false => place.with_file_name(name),
                };
                rig.push(serde_json::from_str(&fs::read_to_string(
                    profiles.join(&place),
                )?)?);
            }
        }
        let cost =
            Cost::new(&model, bits).ok_or("a cache of unknown bits or a model of no layer")?;
        table.solve(&format!("distilp/{case} {bits}"), known, || {
            solve(&cost, &rig)
        });
    }
    Ok(())
}

/// The best number of rounds with its windows.
fn solve(cost: &Cost<'_>, rig: &[Device]) -> Option<Answer> {
    let n_layers = cost.model.L;
    let rounds = (1..n_layers).filter(|rounds| n_layers.is_multiple_of(*rounds));
    let ways = rounds.filter_map(|rounds| {
        let size = n_layers / rounds;
        let windows: Vec<Vec<Option<Window>>> = rig
            .iter()
            .enumerate()
            .map(|(index, device)| {
                (0..=size)
                    .map(|layers| cost.window(device, layers, size, index > 0))
                    .collect()
            })
            .collect();
        let shares = ring::share(&windows, size, (rounds - 1) as f64)?;
        let value = shares.time.0 + cost.constant(rig);
        Some((value, rounds, shares.layers))
    });
    let (value, rounds, layers) = ways.min_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(Answer {
        value,
        bound: value,
        proof: format!("dynamic program over every pace; {rounds} rounds of {layers:?}"),
    })
}

/// What Android can swap out.
fn swap(system: &str, device: &Device) -> f64 {
    match system {
        "android" => device.d_bytes_can_swap.min(device.d_swap_avail),
        _ => 0.0,
    }
}

struct Cost<'a> {
    model: &'a Model,
    /// Bytes of a typical layer.
    layer: f64,
    /// The same with 15 % overhead and its cache.
    held: f64,
    /// Bytes of the head's input and output.
    ends: f64,
    /// Operations of a typical layer and of the output, one sequence.
    work: f64,
    output: f64,
}

impl<'a> Cost<'a> {
    fn new(model: &'a Model, bits: &str) -> Option<Self> {
        let bytes = match bits {
            "4bit" => 0.5,
            "8bit" => 1.0,
            "fp16" | "bf16" => 2.0,
            _ => return None,
        };
        let layer = *model.b.get(1)?;
        let cache = (1.0 + 2.0 / 64.0)
            * bytes
            * (model.hk * model.ek * model.n_kv + model.hv * model.ev * model.n_kv);
        Some(Self {
            layer,
            held: (1.15 * layer + cache).floor(),
            ends: model.b_i.get(1)? / model.V + model.b_o.get(1)?,
            work: *model.f_q.get("decode")?.get("b_1")?.get(1)?,
            output: *model.f_out.get("decode")?.get("b_1")?,
            model,
        })
    }

    fn speed(&self, speeds: &Speeds) -> Option<f64> {
        speeds.get(&self.model.quantization)?.get("b_1").copied()
    }

    /// The least price of a window, over how many of its layers the GPU has.
    fn window(
        &self,
        device: &Device,
        layers: usize,
        size: usize,
        optional: bool,
    ) -> Option<Window> {
        if layers == 0 {
            let nothing = Seconds(0.0);
            return optional.then_some(Window {
                time: nothing,
                pace: nothing,
            });
        }
        let on_cpu =
            self.work / self.speed(&device.scpu)? + device.t_kvcpy_cpu + self.held / device.T_cpu;
        let gpu = match (
            &device.sgpu_metal,
            device.T_metal,
            &device.sgpu_cuda,
            device.T_cuda,
        ) {
            (Some(speeds), Some(rate), _, _) if device.has_metal => Some((speeds, rate)),
            (_, _, Some(speeds), Some(rate)) if device.has_cuda => Some((speeds, rate)),
            _ => None,
        };
        let on_gpu = match gpu {
            Some((speeds, rate)) => {
                self.work / self.speed(speeds)? + device.t_kvcpy_gpu + self.held / rate
            }
            None => on_cpu,
        };
        let disk = device.s_disk.max(1.0);
        let head = if device.is_head { self.ends } else { 0.0 } + device.c_cpu;
        // Layers beyond what memory holds, at most as many as a round has.
        let over = |layers: usize, room: f64| {
            let over = (layers as f64 - room / self.held).ceil().max(0.0);
            (over <= size as f64).then_some(over)
        };
        let cuda = device.d_avail_cuda.filter(|_| device.has_cuda);
        let metal = device.d_avail_metal.filter(|_| device.has_metal);
        let most_on_gpu = if cuda.or(metal).is_some() { layers } else { 0 };
        let times = (0..=most_on_gpu).filter_map(|gpu_layers| {
            let mut time = on_cpu * (layers - gpu_layers) as f64 + on_gpu * gpu_layers as f64;
            let (ram, per_layer) = match device.os_type.as_str() {
                "mac_no_metal" => (over(layers, device.d_avail_ram - head)?, self.held),
                "mac_metal" => match metal {
                    Some(room) => (over(layers, room - head - device.c_gpu)?, self.layer),
                    None => (0.0, self.layer),
                },
                system => {
                    let room = device.d_avail_ram + swap(system, device) - head;
                    (over(layers - gpu_layers, room)?, self.held)
                }
            };
            let output = if device.is_head {
                self.model.b_o[1]
            } else {
                0.0
            };
            let on_cuda = cuda.map_or(Some(0.0), |room| over(gpu_layers, room - device.c_gpu));
            let on_metal = metal.map_or(Some(0.0), |room| {
                over(gpu_layers, room - device.c_gpu - output)
            });
            time += (ram + on_cuda?.max(on_metal?)) * per_layer / disk;
            Some(time)
        });
        let copies = if device.is_unified_mem {
            0.0
        } else {
            device.t_ram2vram + device.t_vram2ram
        };
        let time = times.min_by(f64::total_cmp)? + copies + device.t_comm;
        let fetch = layers as f64 * self.held / disk;
        // A term of the published constant: what a device keeps in memory is not read again.
        let kept = match device.os_type.as_str() {
            "mac_metal" => 0.0,
            system => (device.d_avail_ram + swap(system, device) - device.c_cpu) / device.s_disk,
        };
        Some(Window {
            time: Seconds(time - kept),
            pace: Seconds(time + 0.5 * fetch),
        })
    }

    /// What the windows do not change.
    fn constant(&self, rig: &[Device]) -> f64 {
        let Some(head) = rig.iter().find(|device| device.is_head).or(rig.first()) else {
            return 0.0;
        };
        let compute = self
            .speed(&head.scpu)
            .map_or(0.0, |speed| self.output / speed);
        let disk =
            self.model.b_i[1] / (self.model.V * head.s_disk) + self.model.b_o[1] / head.s_disk;
        compute + self.ends / head.T_cpu + disk
    }
}
