"""The checkpoint of a training: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from symadj.errors import InputError
from symadj.files import open_file, write_atomically

SCHEMA = 1
_KEYS = {
    *("schema", "progress", "timings", "memory", "model", "average", "optimizer", "scheduler"),
    *("random", "batches", "best"),
}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and dicts of such; the old file stays until then."""
    write_atomically(path, lambda file: torch.save({"schema": SCHEMA, **state}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a training checkpoint; executes nothing that stands in the file.

    Raises:
        InputError: not there, not readable, damaged, or not a checkpoint of this version.
    """
    state = load_tensors(path)
    if state.get("schema") != SCHEMA:
        raise InputError(f"{path}: checkpoint of schema {state.get('schema')!r}; needed is 1.")
    if missing := sorted(_KEYS - state.keys()):
        raise InputError(f"{path} is not a whole checkpoint: {', '.join(missing)} missing.")
    return state


def load_tensors(path: Path) -> dict[str, Any]:
    """Reads a file of tensors and plain values onto the CPU, with `weights_only=True`.

    The file is a zip archive, and every part of it must have the CRC-32 that it was written with:
    a bit that has flipped on a disk or on the way is noticed, which torch itself does not do.

    Raises:
        InputError: not there, not readable, damaged, or something else than a dict.
    """
    try:
        with open_file(path, "rb") as file:
            damaged = zipfile.ZipFile(file).testzip()
            if damaged is not None:
                raise InputError(f"{path} is damaged: the checksum of {damaged} does not match.")
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # On a torn file the readers fail in many ways, IndexError and KeyError among them.
        raise InputError(f"{path} cannot be read as a checkpoint: {_reason(error)}.") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is no checkpoint: it holds a {type(state).__name__}.")
    return state


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, zipfile.BadZipFile):
        return "it is damaged, or no file of torch.save"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # torch's own message would advise to load what it has refused.
    return "it is damaged, or holds objects other than tensors and plain values, which are not made"


def check_state(state: Mapping[str, Any], like: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Compares a checkpoint's state with that of a training which has not begun.

    Args:
        state: as `load_checkpoint` gives it.
        like: `Trainer.state()` of the run that is to go on from it.
        optimizer: of that run.

    Raises:
        InputError: an entry that is missing, unknown, of another type or shape, or a count or
            number out of its range; the message names it.
    """
    for key in ("model", "average", "batches"):
        _compare(state[key], like[key], key)
    _compare_common(state["scheduler"], like["scheduler"], "scheduler", ("base_lrs", "last_epoch"))
    _check_progress(state["progress"], like["progress"])
    _compare(state["timings"], dict.fromkeys(like["timings"], _NUMBERS), "timings")
    memory = {"meter": "", **dict.fromkeys(_MEMORY)}
    _compare(state["memory"], None if state["memory"] is None else memory, "memory")
    if state["best"] is not None:
        best = {"iteration": 0, "metric": 0.0, "model": like["model"]}
        _compare(state["best"], best, "best")
        _within(state["best"]["iteration"], "best.iteration", state["progress"]["iteration"])
    version, internal, _ = like["random"]["python"]
    random = {"cuda": _ANYTHING, "python": [version, internal, None]}
    _compare(state["random"], {**like["random"], **random}, "random")
    begun = state["progress"]["iteration"] > 0
    _check_optimizer(state["optimizer"], like["optimizer"], optimizer, begun)


_MEMORY = (
    *("peak_bytes", "outputs_bytes", "checkpoints_bytes", "graph_bytes"),
    *("optimizer_bytes", "reserved_bytes"),
)
_ANYTHING = object()
_NUMBERS = [0.0, ...]
"""A list of numbers, of any length."""


def _check_progress(progress: Any, like: Mapping[str, Any]) -> None:
    _compare(progress, {**like, "loss": _ANYTHING}, "progress")
    loss = progress["loss"]
    _need(isinstance(loss, float), "progress.loss", loss, "a number")
    for name in ("iteration", "wall"):
        _need(progress[name] >= 0, f"progress.{name}", progress[name], "at least 0")
    for name, count in progress["stats"].items():
        _need(count >= 0, f"progress.stats.{name}", count, "at least 0")
    for name in ("stale", "validated"):
        _within(progress[name], f"progress.{name}", progress["iteration"])


def _within(count: int, where: str, done: int) -> None:
    _need(0 <= count <= done, where, count, f"from 0 to progress.iteration={done}")


def _check_optimizer(
    state: Any, like: Mapping[str, Any], optimizer: Optimizer, begun: bool
) -> None:
    """The parameters' entries are those that the optimiser itself makes in its first step."""
    groups = like["param_groups"]
    _compare(state, {"state": _ANYTHING, "param_groups": [_ANYTHING] * len(groups)}, "optimizer")
    _need(isinstance(state["state"], dict), "optimizer.state", state["state"], "a dict")
    for i, (group, one) in enumerate(zip(state["param_groups"], groups, strict=True)):
        where = f"optimizer.param_groups[{i}]"
        _compare_common(group, one, where, ("lr", "params"))
        _need(group["params"] == one["params"], where, group["params"], str(one["params"]))
    numbered = dict(_numbered(like["param_groups"], optimizer))
    kept = any(entries for _, entries in numbered.values())
    missing = begun and kept and not state["state"]
    _need(not missing, "optimizer.state", {}, "what the iterations before have left there")
    for number, entry in state["state"].items():
        where = f"optimizer.state.{number}"
        _need(number in numbered, where, number, f"one of {len(numbered)} parameters")
        weight, entries = numbered[number]
        shaped = {k: torch.empty_like(weight) if v.ndim else v for k, v in entries.items()}
        _compare(entry, shaped, where)


def _numbered(groups: list[dict[str, Any]], optimizer: Optimizer) -> Any:
    """For every parameter's number: the parameter, and the state that its first step makes."""
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for number, weight in zip(group["params"], own["params"], strict=True):
            yield number, (weight, _first_state(own, weight, optimizer))


def _first_state(group: dict[str, Any], weight: Tensor, optimizer: Optimizer) -> dict[str, Tensor]:
    twin = torch.zeros(1, dtype=weight.dtype, requires_grad=True)
    twin.grad = torch.zeros_like(twin)
    stepped = type(optimizer)([{**group, "params": [twin]}])  # pyright: ignore[reportCallIssue]
    stepped.step()
    return {name: torch.as_tensor(value) for name, value in stepped.state[twin].items()}


def _compare_common(
    value: Any, like: Mapping[str, Any], where: str, needed: tuple[str, ...]
) -> None:
    """As `_compare`, for what other versions of torch have more or fewer entries of."""
    _need(isinstance(value, dict), where, value, "a dict")
    _need(set(needed) <= value.keys(), where, list(value), f"with {', '.join(needed)}")
    common = {key: one for key, one in like.items() if key in value}
    _compare({key: value[key] for key in common}, common, where)


def _compare(value: Any, like: Any, where: str) -> None:
    """Raises `InputError` where a value is not of the form of another one."""
    if like is _ANYTHING:
        return
    if isinstance(like, Tensor):
        _need(isinstance(value, Tensor), where, value, "a tensor")
        found, wanted = ((tuple(x.shape), x.dtype) for x in (value, like))
        _need(found == wanted, where, found, f"of shape and dtype {wanted}")
    elif isinstance(like, Mapping):
        _need(isinstance(value, dict), where, value, "a dict")
        _need(value.keys() == like.keys(), where, list(value), f"with the keys {list(like)}")
        for key, inner in like.items():
            _compare(value[key], inner, f"{where}.{key}")
    elif isinstance(like, (list, tuple)):
        _need(isinstance(value, (list, tuple)), where, value, "a list")
        likes = [like[0]] * len(value) if like[-1:] == [...] else like
        _need(len(value) == len(likes), where, len(value), f"of {len(likes)} entries")
        for i, (inner, one) in enumerate(zip(value, likes, strict=True)):
            _compare(inner, one, f"{where}[{i}]")
    elif like is None:
        _need(value is None or _finite(value), where, value, "a number or nothing")
    elif isinstance(like, float):
        _need(_finite(value), where, value, "a finite number")
    else:
        _need(type(value) is type(like), where, value, f"of type {type(like).__name__}")


def _finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _need(holds: bool, where: str, value: Any, wanted: str) -> None:
    if not holds:
        shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        raise InputError(f"{where} is {str(shown)[:80]}; it must be {wanted}.")
