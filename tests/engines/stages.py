"""What the checks of engines that serve in stages share: a plan, what is emitted for it, and who is who."""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

SHARDPLAN = Path(__file__).parents[2] / "target/release/shardplan"
RIGS = (
    ("one after the other", "400 GiB@900 GB/s, 250 GiB@600 GB/s, 250 GiB@600 GB/s", 1),
    ("shared by two", "2x 400 GiB@900 GB/s, 2x 300 GiB@600 GB/s", 2),
)


class Group:
    """What a rank knows of the ranks that it works with, where none of them is there."""

    def __init__(self, rank, size):
        self.rank = self.rank_in_group = self.local_rank = rank
        self.world_size, self.ranks = size, list(range(size))
        self.is_first_rank, self.is_last_rank = rank == 0, rank == size - 1
        self.device_group = self.cpu_group = self

    def size(self):
        return self.world_size


def shardplan(*arguments):
    done = subprocess.run([SHARDPLAN, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"shardplan {shlex.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout


def plan(target, folder, rig, degree):
    """A plan, and the words of its launch line: those of the environment and those of the command."""
    arguments = ["--target", target, "--objective", "kv", "--context", "1024", "--precision", "bf16"]
    file = f"{folder}/plan.yaml"
    planned = json.loads(shardplan("plan", folder, "--rig", rig, "--tp", str(degree), *arguments, "--json", "-o", file))
    line = shardplan("emit", file, "--target", target, "-o", f"{folder}/emitted").splitlines()[-1]
    words = shlex.split(line)
    environment = [word for word in words if re.match(r"[A-Z_]+=", word)]
    return planned, dict(word.split("=", 1) for word in environment), words[len(environment) :]


def parts(planned):
    """The ranks in their order: stage, number in it, blocks that are planned, and the device."""
    devices = {device["name"]: device for device in planned["devices"]}
    for stage, run in enumerate(planned["device_map"]["runs"]):
        first, _, last = run["layers"].partition("-")
        blocks = set(range(int(first), int(last or first) + 1))
        for rank, name in enumerate(run["device"].split("+")):
            yield stage, rank, blocks, devices[name]


def told(planned, device):
    """The part of a card that the engine is told to take."""
    return device["capacity"] * round(1000 * planned["service"]["memory_fraction"]) // 1000


def compared(device, blocks, own, size):
    """How the blocks and the bytes of parameters of a rank are not those that are planned."""
    name, weights = device["name"], device["weights"]
    if own != blocks:
        yield f"{name}: planned blocks {sorted(blocks)}, the engine has {sorted(own)}"
    if size != weights:
        yield f"{name}: planned {weights} bytes of weights, the engine has {size} ({weights - size:+})"


def main(differences, besides={}):
    """Prints what an engine does otherwise than planned, for each configuration that is named."""
    failed = 0
    for path in map(Path, sys.argv[1:]):
        config = json.loads(path.read_text())
        config = besides.get(config["model_type"], {}) | config
        for what, rig, degree in RIGS:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "config.json").write_text(json.dumps(config))
                try:
                    faults = list(differences(folder, rig, degree))
                except Exception as error:
                    faults = [f"{type(error).__name__}: {error}"]
            failed += bool(faults)
            print("FAIL" if faults else "ok  ", path.stem, what, *(f"\n     {fault}" for fault in faults), flush=True)
    print(f"{len(RIGS) * len(sys.argv[1:]) - failed} passed, {failed} failed")
    return failed > 0
