"""A lease decides what CUDA sees, though torch has counted the devices before; skipped where there is none."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
HOLD = """
import sys
from pathlib import Path
import torch
from lddm.synthesis.leases import gpu_lease, visible_devices
assert "0" in visible_devices() and not torch.cuda.is_initialized()
with gpu_lease(sys.argv[1:2], Path(sys.argv[2])):
    print(torch.cuda.is_available())
"""


@pytest.mark.parametrize(("device", "seen"), [("0", "True"), ("99", "False")])
def test_cuda_sees_the_device_that_is_held_and_no_other(tmp_path, device, seen):
    variables = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", HOLD, device, str(tmp_path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == seen, done.stderr[-2000:]
