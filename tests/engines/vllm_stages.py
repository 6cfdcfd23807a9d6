#!/usr/bin/env python3
"""Holds plans for vLLM against the real vLLM, on a CPU and without weights.

    cargo build --release
    $(tests/engines/install.sh vllm) tests/engines/vllm_stages.py CONFIG.json...

Each model is planned, with GPUs one after the other and with two that share every block. Then every
rank's part of it is built by vLLM's own classes from the emitted partition, on torch's meta device:
there are no processes, each rank is told in turn who it is. Blocks and parameters, to the byte, must be
the plan's, and so must be the tokens that vLLM makes of the room that the plan leaves each rank.
"""

import os
import re
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}

import stages
import torch
from stages import Group
from vllm.config import set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.torch_utils import set_default_torch_dtype
from vllm.v1.core.kv_cache_utils import get_kv_cache_configs

PARTITION = "VLLM_PP_LAYER_PARTITION"


def take_part(stage, n_stages, rank, degree):
    parallel_state._WORLD = Group(stage * degree + rank, n_stages * degree)
    parallel_state._PP = Group(stage, n_stages)
    parallel_state._TP = parallel_state._EP = Group(rank, degree)
    parallel_state._DP = parallel_state._DCP = parallel_state._PCP = Group(0, 1)


def plan(folder, rig, degree):
    """A plan, and the configuration that vLLM makes of the emitted line with its own parser."""
    planned, environment, words = stages.plan("vllm", folder, rig, degree)
    os.environ.pop(PARTITION, None)
    os.environ |= {name: value for name, value in environment.items() if name == PARTITION}
    flags = words[words.index("serve") + 2 :]
    # What a CPU needs: no tokenizer, and blocks as small as on a GPU.
    flags += ["--model", folder, "--skip-tokenizer-init", "--load-format", "dummy", "--block-size", "16"]
    parsed = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_args(flags)
    return planned, EngineArgs.from_cli_args(parsed).create_engine_config()


def built(config, stage, rank):
    """The blocks, the bytes of parameters and the layers with a cache that vLLM gives to one rank."""
    parallel = config.parallel_config
    take_part(stage, parallel.pipeline_parallel_size, rank, parallel.tensor_parallel_size)
    context = config.compilation_config.static_forward_context
    context.clear()
    with set_current_vllm_config(config), set_default_torch_dtype(config.model_config.dtype), torch.device("meta"):
        model = initialize_model(vllm_config=config)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    specs = {name: layer.get_kv_cache_spec(config) for name, layer in context.items() if hasattr(layer, "get_kv_cache_spec")}
    specs = {name: spec for name, spec in specs.items() if spec}
    return {int(re.search(r"\.(\d+)\.", name)[1]) for name in specs}, size, specs


def differences(folder, rig, degree):
    """What vLLM does otherwise than planned."""
    planned, config = plan(folder, rig, degree)
    specs, rooms = [], []
    for stage, rank, blocks, device in stages.parts(planned):
        own, size, spec = built(config, stage, rank)
        specs.append(spec)
        rooms.append(stages.told(planned, device) - device["weights"] - device["compute"] - device["overhead"])
        yield from stages.compared(device, blocks, own, size)
    # The layout of a block on most GPUs.
    config.cache_config.kv_cache_layout = "NHD"
    kept = get_kv_cache_configs(config, specs, rooms)
    page = kept[0].kv_cache_groups[0].kv_cache_spec.block_size
    tokens, planned_tokens = kept[0].num_blocks * page, planned["service"]["resident_tokens"]
    # Of a model with windows some blocks' layers keep less, and how many tokens fit depends on them. Where
    # all blocks have one, pages on a CPU have 32 tokens.
    if len(kept[0].kv_cache_groups) == 1 and tokens != planned_tokens - planned_tokens % page:
        yield f"planned {planned_tokens} tokens in the cache, vLLM has {tokens}"


if __name__ == "__main__":
    sys.exit(stages.main(differences))
