//! llama.cpp's GPUs on other hosts: a server on each, and what the first host calls their devices.
//!
//! Source: `ggml/src/ggml-rpc` and `tools/rpc/rpc-server.cpp` (llama.cpp, 0c1e57098): `-d` names the
//! devices that a server offers, and `--rpc` numbers those of all servers one after the other.

use crate::emit::{Backend, device_name};
use crate::hardware::{DeviceId, HostId};
use crate::plan::Plan;

/// The port of every server; llama.cpp's usual one.
const PORT: u16 = 50_052;

/// A host whose GPUs a plan uses from afar.
pub(super) struct Server {
    host: HostId,
    /// In the order of the rig.
    devices: Vec<DeviceId>,
}

/// The servers of a plan, in the order of the rig.
pub(super) fn servers(plan: &Plan) -> Vec<Server> {
    let used: Vec<_> = plan
        .used_gpus()
        .into_iter()
        .filter_map(|name| plan.gpu(name))
        .collect();
    let hosts = (1..plan.rig.hosts().len()).map(HostId);
    let servers = hosts.map(|host| {
        let own = plan
            .rig
            .device_ids()
            .filter(|id| plan.rig.device(*id).host == host);
        Server {
            host,
            devices: own.filter(|id| used.contains(id)).collect(),
        }
    });
    servers
        .filter(|server| !server.devices.is_empty())
        .collect()
}

/// `RPC3`, where a device is one of a server's.
pub(super) fn name(plan: &Plan, device: DeviceId) -> Option<String> {
    let served = servers(plan).into_iter().flat_map(|server| server.devices);
    let number = served.into_iter().position(|id| id == device)?;
    Some(format!("RPC{number}"))
}

/// The flags that reach the servers. They stand before `--device`, which knows no others.
pub(super) fn flags(plan: &Plan) -> Vec<String> {
    let servers = servers(plan);
    let addresses = servers
        .iter()
        .map(|server| format!("{}:{PORT}", server.name(plan)));
    let addresses: Vec<_> = addresses.collect();
    match addresses.is_empty() {
        true => Vec::new(),
        false => vec!["--rpc".to_owned(), addresses.join(",")],
    }
}

impl Server {
    /// What the network calls the host.
    pub(super) fn name<'a>(&self, plan: &'a Plan) -> &'a str {
        &plan.rig.hosts()[self.host.0].name
    }

    /// The command that serves its devices. It listens to anybody who reaches the host.
    pub(super) fn command(&self, plan: &Plan) -> String {
        let names = self.devices.iter().map(|id| device_name(plan, *id));
        let names: Vec<_> = names.collect();
        let of_host = |backend: Backend| {
            let own = plan.rig.devices().iter().filter(|it| it.host == self.host);
            own.filter(|it| Backend::of(it.class) == backend).count()
        };
        let order = match of_host(Backend::Cuda) {
            0 | 1 => "",
            _ => "CUDA_DEVICE_ORDER=PCI_BUS_ID ",
        };
        let names = names.join(",");
        format!("{order}ggml-rpc-server -H 0.0.0.0 -p {PORT} -d {names}")
    }

    /// What it has to hold, for people.
    pub(super) fn needs(&self, plan: &Plan) -> String {
        let needs = self.devices.iter().filter_map(|id| {
            let name = &plan.rig.device(*id).name;
            let found = plan.devices.iter().find(|device| device.name == *name)?;
            Some(format!("{} on {name}", found.memory.total()))
        });
        needs.collect::<Vec<_>>().join(", ")
    }
}
