"""What memory a machine has left, and the refusal of what would need more."""

from __future__ import annotations

from pathlib import Path

import torch

from symadj.errors import InputError
from symadj.units import format_bytes

ALWAYS_THERE = 2**26
"""Bytes below which the system is not asked."""

_MEMINFO = Path("/proc/meminfo")
_VMSTAT = Path("/proc/vmstat")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can still be had: of the GPU, or what the machine and its control group leave.

    Args:
        device: None: the CPU.

    Returns:
        None where the system does not say.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [left for left in (_machine_left(), *_groups_left()) if left is not None]
    return min(known) if known else None


def require_memory(needed: float, what: str, todo: str, device: torch.device | None = None) -> None:
    """Refuses, before anything is allocated, what cannot fit.

    Args:
        needed: bytes, a lower bound of what will be taken.
        what: needs them; with the setting that decides it, as "data.size=5000: three sets".
        todo: what to do.
        device: whose memory; None: the CPU's.

    Raises:
        InputError: it is more than `available_memory`.
    """
    if needed < ALWAYS_THERE:
        return
    left = available_memory(device)
    if left is not None and needed > left:
        raise InputError(
            f"{what} needs {format_bytes(int(needed))} of memory or more, and "
            f"{format_bytes(left)} can be had; {todo}."
        )


def memory_kills() -> int:
    """How many processes Linux has killed for want of memory since it started; 0 elsewhere."""
    lines = (line.split() for line in _text(_VMSTAT).splitlines())
    return next((int(words[1]) for words in lines if words[0] == "oom_kill"), 0)


def _machine_left() -> int | None:
    """MemAvailable of the kernel."""
    for line in _text(_MEMINFO).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def _groups_left() -> list[int]:
    """What the limits of this process's control groups leave, of version 2 and of version 1."""
    left = []
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names, root = ("memory.max", "memory.current"), _GROUPS
        elif "memory" in controllers.split(","):
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes"), _GROUPS / "memory"
        else:
            continue
        # A container sees its own group at the root, whatever its path outside is.
        for folder in (root / path.lstrip("/"), root):
            limit, used = (_text(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                left.append(max(0, int(limit) - int(used)))
    return left


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
