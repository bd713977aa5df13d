"""Cost of one clip per generator: parameters, seconds, memory. Each is measured in its own process, untrained."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.timing import row

# RssAnon in excess of the imports: weights and activations. Two steps of the pixel model are timed and scaled.
COST = r"""
import json, re, sys, threading, time
from pathlib import Path
import torch
from lddm.autoencoder.model import Autoencoder
from lddm.generators.diffusion.process import make_scheduler
from lddm.generators.sampling import SamplingOptions
from lddm.settings import Settings
from lddm.generators.registry import find_generator
from lddm.training.weights import count_parameters

def own() -> int:
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])

name = sys.argv[1]
torch.set_num_threads(1)
make_scheduler(Settings().diffusion, "unipc")  # what it imports is no memory of a clip
if name == "pixel":
    import diffusers.models.unets.unet_3d_condition
before = own()
defaults, size, frames = Settings(), 64, 16
stage1 = Autoencoder(defaults.autoencoder, size, frames).eval()
entry = find_generator(name.split()[0])
section = getattr(defaults, entry.section)
if "published" in name:
    section = section.model_copy(update={"coupling": "published", "blocks": 20})
shape = (size, frames) if name == "pixel" else (stage1.spec, size)
model = entry.model(section, *shape, 2).eval()
steps = 2 if name == "pixel" else defaults.synthesis.num_inference_steps
usual = defaults.synthesis
options = SamplingOptions(usual.sampler, steps, usual.guidance_scale, usual.guidance_target)
x0, label, rng = torch.zeros(1, 1, size, size), torch.zeros(1, dtype=torch.int64), torch.Generator().manual_seed(0)

def animate() -> None:
    with torch.no_grad():
        model.video(x0, label, rng, options, lambda still, z: stage1.decode(still, z).frames)

peak, done = [own()], threading.Event()
def watch() -> None:
    while not done.wait(0.002):
        peak[0] = max(peak[0], own())
watcher = threading.Thread(target=watch)
watcher.start()
began = time.perf_counter()
animate()
began = time.perf_counter()
animate()
done.set()
watcher.join()
seconds = (time.perf_counter() - began) * defaults.synthesis.num_inference_steps / steps
print(json.dumps({"parameters": count_parameters(model), "seconds": seconds, "memory_mib": (peak[0] - before) / 1024}))
"""


def generator_costs() -> list[dict[str, Any]]:
    """Seconds and memory of one clip on one thread, relative to pixel-space diffusion; default sampler and guidance."""
    costs = {}
    for name in ("lddm", "cinn", "cinn (published)", "pixel"):
        done = subprocess.run([sys.executable, "-c", COST, name], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        costs[name] = json.loads(done.stdout)
    peer = costs.pop("pixel")
    rows = []
    for name, cost in costs.items():
        setting = f"{cost['parameters'] / 1e6:.1f} M parameters, one thread, one clip at a time"
        rows.append(row(f"seconds_of_{name}_vs_pixel", cost["seconds"], peer["seconds"], "s/clip", setting))
        rows.append(row(f"memory_of_{name}_vs_pixel", cost["memory_mib"], peer["memory_mib"], "MiB", setting))
    return rows


if __name__ == "__main__":
    for line in generator_costs():
        print(f"{line['name']}: {line['ours']:.3g} against {line['peer']:.3g} {line['unit']}, {line['setting']}")
