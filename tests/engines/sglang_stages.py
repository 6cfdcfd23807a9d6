#!/usr/bin/env python3
"""Holds plans for SGLang against the real SGLang, on a CPU and without weights.

    cargo build --release
    $(tests/engines/install.sh sglang) tests/engines/sglang_stages.py CONFIG.json...

Each model is planned, with GPUs one after the other and with two that share every block. Then every
rank's part of it is built by SGLang's own classes from the emitted partition, on torch's meta device:
there are no processes, each rank is told in turn who it is. Blocks and parameters, to the byte, must be
the plan's, and so must be the tokens that SGLang makes of the room that the plan leaves each rank.
"""

import importlib.abc
import importlib.machinery
import inspect
import logging
import os
import sys
import types
import warnings

os.environ |= {"HF_HUB_OFFLINE": "1", "SGLANG_USE_CPU_ENGINE": "1"}
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import stages
import torch
import torch._inductor.compile_fx  # Before it sees a Triton that is not one.
from stages import Group

# Kernels for GPUs and readers of pictures, which building a model calls none of.
ABSENT = """av cuda cutlass decord deep_ep deep_gemm flash_attn flash_mla flashinfer humming IPython nvshmem quack
sgl_kernel tilelang torch_memory_saver torchaudio torchvision triton triton_kernels""".split()


class Anything(type):
    """Makes a class that has every attribute, itself."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __or__(cls, other):
        return cls


class Nothing(metaclass=Anything):
    """A function, decorator, class or number of a package that is absent."""

    def __init__(self, *arguments, **options):
        pass

    def __call__(self, *arguments, **options):
        return self

    def __class_getitem__(cls, item):
        return cls


class Absent(types.ModuleType):
    """A module of a package that is absent."""

    __path__, __version__ = [], "99"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets what is absent be imported."""

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Finder())

from sglang.srt import runtime_context
from sglang.srt.configs.load_config import LoadConfig
from sglang.srt.configs.model_config import AttentionArch, ModelConfig
from sglang.srt.distributed import parallel_state
from sglang.srt.layers.radix_attention import RadixAttention
from sglang.srt.model_executor.model_runner_components.layer_setup import resolve_layer_indices
from sglang.srt.model_executor.pool_configurator import create_memory_pool_configurator
from sglang.srt.model_loader.loader import _get_quantization_config, _initialize_model
from sglang.srt.model_loader.utils import set_default_torch_dtype
from sglang.srt.server_args import prepare_server_args
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

PARTITION = "SGLANG_PP_LAYER_PARTITION"
# What the published configurations have besides, and the classes ask for.
BESIDES = {
    "gemma2": {"hidden_act": "gelu_pytorch_tanh"},
    "deepseek_v2": {"scoring_func": "softmax", "n_group": 1, "topk_group": 1},
}


def plan(folder, rig, degree):
    """A plan, and what SGLang makes of the emitted line with its own parser."""
    planned, environment, words = stages.plan("sglang", folder, rig, degree)
    os.environ.pop(PARTITION, None)
    os.environ |= {name: value for name, value in environment.items() if name == PARTITION}
    # What a CPU needs.
    flags = ["--device", "cpu", "--load-format", "dummy", "--skip-tokenizer-init"]
    arguments = prepare_server_args(words[words.index("sglang.launch_server") + 1 :] + flags)
    arguments.resolve_once()
    return planned, arguments


def take_part(stage, n_stages, rank, degree):
    world, pipeline = Group(stage * degree + rank, n_stages * degree), Group(stage, n_stages)
    tensor, alone = Group(rank, degree), Group(0, 1)
    groups = {"world": world, "pp": pipeline, "tp": tensor, "attn_tp": tensor, "moe_tp": tensor}
    groups |= {"attn_cp": alone, "moe_dp": alone, "moe_ep": alone}
    for name, group in groups.items():
        setattr(parallel_state, f"_{name.upper()}", group)
    runtime_context.get_parallel().override_permanently(**{f"{name}_group": group for name, group in groups.items()})


def built(arguments, stage, rank, room):
    """The blocks and the bytes of parameters that SGLang gives to one rank, and the tokens it keeps there."""
    n_stages, degree = arguments.pp_size, arguments.tp_size
    place = runtime_context.SpawnRanks(stage * degree + rank, gpu_id=0)
    with runtime_context.use_context(runtime_context.create_context(arguments, role="scheduler", ranks=place)):
        take_part(stage, n_stages, rank, degree)
        config = ModelConfig.from_server_args(arguments)
        load = LoadConfig(load_format="dummy")
        with set_default_torch_dtype(config.dtype), torch.device("meta"):
            model = _initialize_model(config, load, _get_quantization_config(config, load))
        if n_stages > 1 and "pp_proxy_tensors" not in inspect.signature(model.forward).parameters:
            raise RuntimeError(f"SGLang has no pipeline of {type(model).__name__}")
        own = {part.layer_id for part in model.modules() if isinstance(part, RadixAttention)}
        # Of a class of transformers they are beside it.
        own |= set(getattr(model, "attention_instances", ()))
        size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
        layers = resolve_layer_indices(model=model, model_config=config, is_draft_worker=False)
        return own, size, tokens(arguments, config, layers, room)


def tokens(arguments, config, layers, room):
    """How many tokens SGLang keeps in a room, or none where it divides it among windows and whole blocks."""
    if config.is_hybrid_swa:
        return None
    pool = types.SimpleNamespace(
        kv_cache_dtype=config.dtype,
        kv_cache_dtype_str="auto",
        model_dtype=config.dtype,
        model_config=config,
        server_args=arguments,
        layer_info=layers,
        pp_size=arguments.pp_size,
        spec_algorithm=SpeculativeAlgorithm.NONE,
        is_draft_worker=False,
        is_hybrid_swa=False,
        use_mla_backend=config.attention_arch == AttentionArch.MLA,
        kv_shard_spec=None,
        kv_shard_size=1,
    )
    return create_memory_pool_configurator(pool).calculate_pool_sizes(room, 1).max_total_num_tokens


def differences(folder, rig, degree):
    """What SGLang does otherwise than planned."""
    planned, arguments = plan(folder, rig, degree)
    kept = []
    for stage, rank, blocks, device in stages.parts(planned):
        room = stages.told(planned, device) - device["weights"]
        own, size, own_tokens = built(arguments, stage, rank, room)
        kept.append(own_tokens)
        yield from stages.compared(device, blocks, own, size)
    resident = planned["service"]["resident_tokens"]
    # All stages keep as many as the one that keeps the fewest.
    if None not in kept and min(kept) != resident:
        yield f"planned {resident} tokens in the cache, SGLang has {min(kept)}"


if __name__ == "__main__":
    sys.exit(stages.main(differences, BESIDES))
