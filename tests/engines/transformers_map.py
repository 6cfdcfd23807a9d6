#!/usr/bin/env python3
"""Holds device maps against the real transformers and accelerate, without weights and without a GPU.

    $(tests/engines/install.sh transformers) tests/engines/transformers_map.py CONFIG MAP [CONFIG MAP]...

Each model is built from its `config.json` on pretended devices (torch's fake tensors), cut up by
accelerate's own hooks as its map says, and run: a map that is incomplete, that transformers reads
otherwise than it looks, or that lets two devices meet within an operation is refused.
"""

import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import accelerate.hooks
import torch
import transformers
from accelerate import dispatch_model
from accelerate.utils import check_device_map
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.integrations.accelerate import expand_device_map


def move(module, name, device, value=None, **_):
    """Stands in for accelerate's move of one tensor, which cannot rebuild a fake one."""
    *path, name = name.split(".")
    for step in path:
        module = getattr(module, step)
    store = module._parameters if name in module._parameters else module._buffers
    tensor = store[name] if value is None else value
    moved = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    store[name] = torch.nn.Parameter(moved, requires_grad=False) if store is module._parameters else moved


def build(config_path):
    config = transformers.AutoConfig.from_pretrained(config_path, trust_remote_code=False)
    model_class = getattr(transformers, config.architectures[0])
    return model_class._from_config(config, dtype=torch.float16).eval().requires_grad_(False)


def faults(model, device_map):
    """What is wrong with a map before anything runs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_device_map(model, device_map)
    yield from (str(warning.message) for warning in caught)

    tensors = [*dict(model.named_parameters(remove_duplicate=False)), *dict(model.named_buffers())]
    holds = lambda key, name: not key or name == key or name.startswith(f"{key}.")
    under = {name: [key for key in device_map if holds(key, name)] for name in tensors}
    yield from (f"`{name}` is under {len(keys)} keys" for name, keys in under.items() if len(keys) != 1)
    meant = {name: device_map[keys[0]] for name, keys in under.items() if keys}
    read = expand_device_map(device_map, tensors)
    yield from (f"`{name}` would go to {read[name]}" for name in meant if read[name] != meant[name])

    for name, module in model.named_modules():
        devices = {meant[tensor] for tensor in meant if tensor.startswith(f"{name}.")}
        if type(module).__name__ in model._no_split_modules and len(devices) > 1:
            yield f"block `{name}` is cut over {devices}"
    for tied, source in model.all_tied_weights_keys.items():
        if meant.get(tied) != meant.get(source):
            yield f"`{tied}` is tied to `{source}` on another device"


def refusals(config_path, map_path):
    """What the libraries hold against a map."""
    device_map = json.load(open(map_path))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model = build(config_path)
        if found := list(faults(model, device_map)):
            return found
        # torch's `lazy` device needs no driver. What is on disk runs like what is in RAM.
        pretended = {key: "cpu" if device in ("cpu", "disk") else f"lazy:{device}" for key, device in device_map.items()}
        dispatch_model(model, pretended, skip_keys=model._skip_keys_device_placement, force_hooks=True)
        tokens = torch.zeros(1, 8, dtype=torch.long)
        model(tokens, **({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}))
    return []


accelerate.hooks.set_module_tensor_to_device = move
transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")
passed, failed = 0, 0
for config_path, map_path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    try:
        found = refusals(config_path, map_path)
    except Exception as error:
        found = [f"{type(error).__name__}: {error}"]
    print(f"{'FAIL' if found else 'ok  '} {map_path} for {config_path}", *found[:5], sep="\n     ")
    passed, failed = passed + (not found), failed + bool(found)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0 or passed == 0)
