#!/usr/bin/env python3
"""Runs what shardplan emits for llama.cpp with the real llama.cpp, and holds its log against the plan.

    cargo build --release
    $(tests/engines/install.sh llama.cpp) tests/engines/llama_cpp.py

The GPUs are four RPC servers on this machine: llama.cpp spreads layers, weights and cache over RPC
devices by the same code as over CUDA devices. A random model stands in for a real one; its rows are
multiples of 512, so that CUDA's padding, which is planned, and the CPU's, which runs, are the same.
"""

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy

SHARDPLAN = Path(__file__).parents[2] / "target/release/shardplan"
ENGINE = Path(sys.prefix) / "bin"
N_DEVICES = 4
N_TOKENS = 4


class Rig(NamedTuple):
    """GPUs as (share of the model that fits, GB/s), the places that a plan must use for them, and the field
    of a plan that must say which parts of blocks are in RAM."""

    name: str
    gpus: list[tuple[float, int]]
    places: set[str]
    options: str = ""
    model: str = "dense"
    ram: str = "ram 8 GiB"
    apart: str = ""


# Blocks are small here: RAM this slow makes it worth while to keep their attention on a GPU.
SLOW = "ram 8 GiB@2 GB/s"
FOUR = {"cuda0", "cuda1", "cuda2", "cuda3"}
RIGS = [
    Rig("one GPU", [(1.1, 900)], {"cuda0"}),
    Rig("the faster of two GPUs", [(1.1, 300), (1.1, 900)], {"cuda1"}),
    Rig("two GPUs, unevenly", [(0.8, 900), (0.4, 300)], {"cuda0", "cuda1"}),
    Rig("two GPUs, the larger last", [(0.3, 900), (0.9, 900)], {"cuda0", "cuda1"}),
    Rig("a GPU too small for a layer", [(0.4, 900), (0, 900), (0.8, 300)], {"cuda0", "cuda2"}),
    Rig("four equal GPUs", [(0.3, 900)] * 4, FOUR),
    Rig("four GPUs, all different", [(0.3, 900), (0.25, 600), (0.4, 300), (0.2, 300)], FOUR),
    Rig("the CPU and a GPU", [(0.4, 900)], {"cpu", "cuda0"}),
    Rig("the CPU and two GPUs", [(0.3, 300), (0.5, 900)], {"cpu", "cuda0", "cuda1"}),
    Rig("the CPU alone", [], {"cpu"}),
    Rig("a cache of 8 bits", [(0.3, 300), (0.5, 900)], {"cpu", "cuda0", "cuda1"}, "--kv q8_0"),
    Rig("two sequences", [(0.8, 900), (0.6, 300)], {"cuda0", "cuda1"}, "--sequences 2"),
    Rig("experts on one GPU", [(1.1, 900)], {"cuda0"}, model="mixture"),
    Rig("experts in RAM", [(0.5, 900)], {"cuda0"}, model="mixture", ram=SLOW, apart="experts_on_cpu"),
    Rig("experts in RAM beside two GPUs", [(0.3, 900), (0.4, 600)], {"cuda0", "cuda1"}, model="mixture", ram=SLOW, apart="experts_on_cpu"),
    Rig("whole blocks beside experts in RAM", [(0.13, 900)], {"cpu", "cuda0"}, model="mixture", ram=SLOW, apart="experts_on_cpu"),
    Rig("feed-forwards in RAM", [(0.93, 900)], {"cuda0"}, ram=SLOW, apart="feed_forward_on_cpu"),
]


def write_model(path, n_experts):
    """A Llama of 24 blocks with random weights, of so many experts, and a vocabulary of bytes and numbers."""
    n_layers, n_embd, n_heads, n_kv_heads, n_vocab = 24, 1024, 16, 8, 4096
    n_ff = 512 if n_experts else 2560
    kv_width = n_embd // n_heads * n_kv_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(n_layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_kv_heads)
    if n_experts:
        writer.add_expert_count(n_experts)
        writer.add_expert_used_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(n_embd // n_heads)
    writer.add_vocab_size(n_vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    numbers = [f"▁{number}" for number in range(n_vocab - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens + numbers)
    writer.add_token_scores([0.0] * n_vocab)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(numbers))

    random = numpy.random.default_rng(0).normal(0, 0.03, n_embd * n_vocab).astype(numpy.float16)
    matrices = {"attn_q": (n_embd, n_embd), "attn_k": (kv_width, n_embd), "attn_v": (kv_width, n_embd)}
    matrices |= {"attn_output": (n_embd, n_embd)}
    branches = {"ffn_down": (n_embd, n_ff), "ffn_gate": (n_ff, n_embd), "ffn_up": (n_ff, n_embd)}
    if n_experts:
        branches = {f"{name}_exps": (n_experts, *shape) for name, shape in branches.items()}
        branches |= {"ffn_gate_inp": (n_experts, n_embd)}
    matrices |= branches
    tensors = {"token_embd": (n_vocab, n_embd), "output_norm": n_embd, "output": (n_vocab, n_embd)}
    for layer in range(n_layers):
        block = matrices | {"attn_norm": n_embd, "ffn_norm": n_embd}
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    for name, shape in tensors.items():
        norm = name.endswith("norm")
        data = numpy.ones(shape, numpy.float32) if norm else numpy.resize(random, shape)
        writer.add_tensor(f"{name}.weight", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextlib.contextmanager
def rpc_servers():
    """The ports of `N_DEVICES` RPC servers, which end with this block and at the latest in an hour."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(N_DEVICES)]
        ports = [str(taken.getsockname()[1]) for taken in sockets]
        stack.pop_all().close()
        for port in ports:
            command = ["timeout", "3600", ENGINE / "ggml-rpc-server", "-H", "127.0.0.1", "-p", port]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.enter_context(server)
            stack.callback(server.terminate)
        for port in ports:
            await_server(port)
        yield ports


def await_server(port):
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def shardplan(folder, *arguments):
    done = subprocess.run([SHARDPLAN, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"shardplan {shlex.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout


def plan(folder, model, rig, options):
    workload = ["--context", "512", "--ubatch", "128", *options]
    arguments = [f"{model}.gguf", "--rig", rig, "--target", "llama.cpp", *workload]
    return json.loads(shardplan(folder, "plan", *arguments, "--json", "-o", "plan.yaml"))


def placement(plan):
    """The device of each block and of the head, in order."""
    slots = []
    for run in plan["device_map"]["runs"]:
        first, _, last = run["layers"].partition("-")
        slots += [run["device"]] * (int(last or first) - int(first) + 1)
    return [*slots, plan["device_map"]["modules"]["head"]]


def memory(plan, purpose):
    """MiB by device for what llama.cpp logs as `model` and `KV` buffers, where there are any."""
    column = {"model": "weights", "KV": "kv_cache"}[purpose]
    return {device["name"]: device[column] / 2**20 for device in plan["devices"] if device[column]}


def launch(folder, ports):
    """The log of the emitted command, run on RPC devices in place of the GPUs."""
    line = shardplan(folder, "emit", "plan.yaml", "--target", "llama.cpp", "-o", "emitted")
    _, flags = re.sub(r"\bCUDA(?=\d)", "RPC", line).split("llama-server ")
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    # `--device` knows only the servers of a `--rpc` before it.
    command = [ENGINE / "llama-completion", "--rpc", servers, *shlex.split(flags)]
    # Mapped weights would be logged as a span of the file; `none` logs what is allocated.
    command += ["-lm", "none", "-lv", "5", "--no-warmup"]
    command += ["-no-cnv", "--ignore-eos", "-p", "1 2 3", "-n", str(N_TOKENS)]
    # Random tokens need not be UTF-8.
    io = {"stdin": subprocess.DEVNULL, "capture_output": True, "errors": "replace"}
    return subprocess.run(command, cwd=folder, timeout=300, **io)


def logged_placement(log):
    devices = re.findall(r"load_tensors: layer +\d+ assigned to device (\w+)", log)
    return [device.lower().replace("rpc", "cuda") for device in devices]


def logged_memory(log, purpose, ports):
    buffers = {}
    for name, size in re.findall(rf"(\S+) {purpose} buffer size = +([\d.]+) MiB", log):
        device = "cpu" if name.startswith("CPU") else f"cuda{ports.index(name.rstrip(']').split(':')[1])}"
        # The CPU has a buffer of its own for weights that it repacks.
        buffers[device] = buffers.get(device, 0) + float(size)
    return buffers


def differences(planned, engine, ports):
    """What the engine did otherwise than planned."""
    log = engine.stderr
    # What comes last may be lost with the log's thread: the summary of times, and now and then the count
    # behind the last token.
    if engine.returncode or not re.search(r"\bn_remain: [01]\b", log):
        yield f"llama.cpp ended with {engine.returncode} and not after {N_TOKENS} tokens:\n{log[-2000:]}"
    if logged_placement(log) != placement(planned):
        yield f"layers: planned {placement(planned)}, logged {logged_placement(log)}"
    for purpose in ("model", "KV"):
        want, logged = memory(planned, purpose), logged_memory(log, purpose, ports)
        # The log rounds to 0.01 MiB, and the CPU's figure is a sum of two.
        if want.keys() != logged.keys() or any(abs(want[device] - logged[device]) > 0.0101 for device in want):
            yield f"{purpose} MiB: planned {want}, logged {logged}"


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    faults, orders = {}, []
    with tempfile.TemporaryDirectory() as folder, rpc_servers() as ports:
        needs = {}
        for model, n_experts in (("dense", 0), ("mixture", 4)):
            write_model(f"{folder}/f16.gguf", n_experts)
            quantize = [ENGINE / "llama-quantize", "f16.gguf", f"{model}.gguf", "Q4_K_M"]
            subprocess.run(quantize, cwd=folder, check=True, capture_output=True)
            whole = plan(folder, model, "64 GiB@900 GB/s", [])["devices"][0]
            needs[model] = whole["compute"] + whole["overhead"], whole["weights"] + whole["kv_cache"]
        for rig in RIGS:
            overhead, size = needs[rig.model]
            gpus = [f"{(overhead + share * size) / 2**20:.2f} MiB@{rate} GB/s" for share, rate in rig.gpus]
            try:
                planned = plan(folder, rig.model, ", ".join([*gpus, rig.ram]), rig.options.split())
                if rig.apart and rig.apart not in planned:
                    faults[rig.name] = [f"the rig is to have `{rig.apart}` and gave {planned['layout']}"]
                orders.append(list(dict.fromkeys(placement(planned))))
                faults.setdefault(rig.name, []).extend(differences(planned, launch(folder, ports), ports))
                if set(orders[-1]) != rig.places:
                    faults[rig.name].append(f"the rig is to force {rig.places} and gave {orders[-1]}")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                faults[rig.name] = [str(error)]
            report(rig.name, faults[rig.name])
    faults["GPUs out of order"] = [] if any(order != sorted(order) for order in orders) else [f"{orders}"]
    report("GPUs out of order", faults["GPUs out of order"])
    failed = sum(map(bool, faults.values()))
    print(f"{len(faults) - failed} passed, {failed} failed")
    return failed > 0


def report(name, faults):
    print("FAIL" if faults else "ok  ", name, *(f"\n     {fault}" for fault in faults), flush=True)


if __name__ == "__main__":
    sys.exit(main())
