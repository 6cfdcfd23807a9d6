#!/usr/bin/env python3
"""Starts what shardplan emits for vLLM with the real vLLM, one process a rank, on this machine's CPU.

    cargo build --release
    $(tests/engines/install.sh vllm) tests/engines/vllm_serve.py

A random Llama of eight blocks is planned for two cards of unlike memory, one after the other with
unlike parts, and for two alike that share every block. The emitted script is run as it is, with what a
CPU needs behind it. Each has to answer with the same tokens, and to keep as many tokens in the cache as
the plan's bytes of a token allow in the room that each rank gets.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import tokenizers
import torch
from safetensors.torch import save_file

SHARDPLAN = Path(__file__).parents[2] / "target/release/shardplan"
CONTEXT = 512
ROOM = 1 << 30
BLOCK = 32
N_TOKENS = 8
PROMPT = [5, 6, 7, 300, 4]
RIGS = {
    "one after the other": ("12 GiB@900 GB/s, 6 GiB@300 GB/s", 1, "VLLM_PP_LAYER_PARTITION=6,2 "),
    "shared by two": ("2x 12 GiB@900 GB/s", 2, "--tensor-parallel-size 2 "),
}
# Attention on CPUs takes blocks of 32 tokens, where GPUs take 16. Its runner has no buffer for what a stage is handed on before its first compilation: it has
# to compile, with nothing that takes long.
FOR_A_CPU = ["--block-size", str(BLOCK), "--compilation-config", '{"mode": 2, "backend": "eager"}', "--no-enable-log-requests"]


def write_model(folder):
    """A Llama with random weights, and a vocabulary of numbers that is no whole number of pads."""
    n_layers, hidden, ffn, n_heads, n_kv_heads, head_dim, vocab = 8, 256, 512, 8, 4, 64, 1000
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}
    config |= {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": n_layers, "vocab_size": vocab}
    config |= {"num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads, "head_dim": head_dim}
    config |= {"max_position_embeddings": 2048, "tie_word_embeddings": False, "torch_dtype": "float32"}
    Path(folder, "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens": (vocab, hidden), "model.norm": (hidden,), "lm_head": (vocab, hidden)}
    for layer in range(n_layers):
        block = {"self_attn.q_proj": (n_heads * head_dim, hidden), "self_attn.o_proj": (hidden, n_heads * head_dim)}
        block |= {f"self_attn.{name}_proj": (n_kv_heads * head_dim, hidden) for name in "kv"}
        block |= {"mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn)}
        block |= {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    torch.manual_seed(0)
    weights = {f"{name}.weight": torch.randn(shape) * (0.1 if len(shape) == 2 else 1) for name, shape in shapes.items()}
    save_file(weights, f"{folder}/model.safetensors", {"format": "pt"})
    words = tokenizers.models.WordLevel({f"t{number}": number for number in range(vocab)}, unk_token="t0")
    tokenizers.Tokenizer(words).save(f"{folder}/tokenizer.json")
    Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0"}')


def shardplan(folder, *arguments):
    done = subprocess.run([SHARDPLAN, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"shardplan {' '.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def serving(folder, log):
    """The port at which the emitted script answers, until the end of this block."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    more = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    more |= {"VLLM_CPU_KVCACHE_SPACE": str(ROOM >> 30), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    command = ["sh", "emitted/vllm.sh", *FOR_A_CPU, "--host", "127.0.0.1", "--port", port]
    io = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    server = subprocess.Popen(command, cwd=folder, env=os.environ | more, start_new_session=True, **io)
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("it does not answer")
            time.sleep(0.5)
        yield port
    finally:
        # All of the session: the shell, the server, its engine and the ranks.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answer(port, model):
    asked = {"model": model, "prompt": PROMPT, "max_tokens": N_TOKENS, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)["choices"][0]["token_ids"]


def expected_tokens(planned):
    """Tokens that `ROOM` keeps on the rank that keeps the fewest, by the plan's bytes of the cache."""
    n_blocks = CONTEXT // BLOCK
    pages = [device["kv_cache"] // n_blocks for device in planned["devices"] if device["kv_cache"]]
    return min(ROOM // page for page in pages) * BLOCK


def run(name, folder, faults):
    rig, degree, must = RIGS[name]
    arguments = ["--target", "vllm", "--precision", "fp32", "--context", str(CONTEXT), "--tp", str(degree)]
    planned = json.loads(shardplan(folder, "plan", folder, "--rig", rig, *arguments, "--json", "-o", "plan.yaml"))
    line = shardplan(folder, "emit", "plan.yaml", "--target", "vllm", "-o", "emitted")
    if must not in line:
        faults.append(f"the rig is to force `{must}` and gave {line}")
    with open(f"{folder}/log", "w+", errors="replace") as log:
        try:
            with serving(folder, log) as port:
                tokens = answer(port, folder)
        except (RuntimeError, OSError, KeyError) as error:
            log.seek(0)
            faults.append(f"{error}: {log.read()[-3000:]}")
            return []
        log.seek(0)
        kept = {int(number.replace(",", "")) for number in re.findall(r"KV cache size: ([\d,]+) tokens", log.read())}
    if kept != {expected_tokens(planned)}:
        faults.append(f"tokens in the cache: planned {expected_tokens(planned)}, logged {kept}")
    if len(tokens) != N_TOKENS:
        faults.append(f"it answered {tokens}")
    return tokens


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed, answers = 0, []
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)
        for name in RIGS:
            faults = []
            answers.append(run(name, folder, faults))
            if answers[-1] != answers[0]:
                faults.append(f"the tokens are {answers[-1]} and were {answers[0]}")
            failed += bool(faults)
            print("FAIL" if faults else "ok  ", name, *(f"\n     {fault}" for fault in faults), flush=True)
    print(f"{len(RIGS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
