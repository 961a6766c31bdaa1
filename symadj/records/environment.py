"""What a run ran on: versions, device, processor."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch

import symadj

Environment = dict[str, "str | int | None"]


def environment(device: torch.device, devices: int = 1) -> Environment:
    """Describes the software and the machine, for a run record.

    Args:
        device: of the run's first process.
        devices: how many processes have shared its work, with a device each.
    """
    return {
        "symadj": symadj.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "device": str(device),
        "devices": devices,
        "device_name": device_name(device),
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "os": platform.platform(),
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
    }


def device_name(device: torch.device) -> str:
    """The device as its maker names it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def cpu_model() -> str:
    """The processor's model name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout that symadj is imported from; None for an installed wheel."""
    root = Path(symadj.__file__).resolve().parents[1]
    # Without this a wheel inside some other project's tree would report that project's commit.
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
