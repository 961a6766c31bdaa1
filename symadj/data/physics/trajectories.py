"""The user's own trajectories, from a NumPy archive, checked before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symadj.data.physics.npz import BrokenArchive, read_npz
from symadj.data.physics.snapshots import SnapshotData, tenths
from symadj.errors import InputError
from symadj.ranges import require

EVEN = 1e-6
"""How far an interval of t may be from their mean, relative to it."""

CUT_IN_TIME_BELOW = 3


class Trajectories(SnapshotData):
    """Equally spaced snapshots of one autonomous system.

    With three trajectories or more, one in ten (at least one) is the test split, as many are the
    validation split, and the others are trained on, in an order drawn from the seed. One or two are
    cut in time instead: the first eight tenths train, the next one validates, the last one tests.

    Args:
        path: of a .npz file with `t` of shape [T] and `u` of shape [n, T, ...], as
            `numpy.savez(path, t=t, u=u)` writes it. A state is flattened to a vector.
        dx: distance of neighbouring grid points where a state is a field on a periodic grid, which
            the convolutional models need; null: it is none.
        seed: of the split.
        horizon: intervals of a training window.

    Attributes:
        file: what was read.

    Raises:
        InputError: a file that is missing, unreadable or of another kind, an array that is missing
            or has the wrong shape or dtype, missing or infinite values, times that do not rise in
            equal intervals, or fewer snapshots than a window needs.
    """

    def __init__(self, path: str, dx: float | None = None, seed: int = 0, horizon: int = 1) -> None:
        require("data", dx=dx, seed=seed)
        t, u = read_trajectories(path)
        dt = _interval(t, path)
        states = torch.from_numpy(u.reshape(*u.shape[:2], -1))
        super().__init__(
            Path(path).stem,
            _splits(states, seed, path),
            dt,
            horizon=horizon,
            note=f"{Path(path).name}: {u.shape[0]} trajectories of {len(t)} states {u.shape[2:]}",
            dx=dx,
            columns=[f"u{i + 1}" for i in range(states.shape[-1])],
        )
        self.file = Path(path).expanduser()


def read_trajectories(path: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """t [T] and u [n, T, ...] of a .npz file, checked for shapes, dtypes and finite values.

    Raises:
        InputError: as `Trajectories`.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise InputError(f"path={path}: no such file (looked for {file.absolute()}).")
    if not file.is_file() or file.suffix.lower() != ".npz":
        raise InputError(
            f"path={path}: a .npz file is needed, as numpy.savez(path, t=t, u=u) writes it."
        )
    try:
        found = read_npz(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except BrokenArchive as error:
        raise InputError(
            f"{path} is no whole .npz file of numbers: it is damaged, of another kind, or holds "
            "Python objects, which are not opened."
        ) from error
    missing = [name for name in ("t", "u") if name not in found]
    if missing:
        raise InputError(
            f"{path} holds {', '.join(found) or 'nothing'}; needed are t of shape [T] and u of "
            f"shape [n, T, ...], and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    t, u = (_real(found[name], name, path) for name in ("t", "u"))
    _check_shapes(t, u, path)
    _check_finite(t, u, path)
    return t, u


def _real(array: NDArray, name: str, path: str) -> NDArray[np.float64]:
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: {name} has dtype {array.dtype}; allowed are real numbers (float or integer)."
        )
    return array.astype(np.float64)


def _check_shapes(t: NDArray, u: NDArray, path: str) -> None:
    if t.ndim != 1 or len(t) < 2:
        raise InputError(
            f"{path}: t has shape {t.shape}; it must be [T], the times of at least 2 snapshots."
        )
    if u.ndim < 2 or u.shape[1] != len(t) or u.size == 0:
        raise InputError(
            f"{path}: u has shape {u.shape} and t has {len(t)} times; u must be [n, T, ...] with "
            f"T={len(t)} snapshots of each of n trajectories."
            + (" For a single trajectory save u[None]." if u.shape[:1] == t.shape else "")
        )


def _check_finite(t: NDArray, u: NDArray, path: str) -> None:
    if not np.isfinite(t).all():
        raise InputError(f"{path}: t holds NaN or infinity.")
    bad = np.argwhere(~np.isfinite(u))
    if len(bad):
        trajectory, snapshot = bad[0][:2]
        raise InputError(
            f"{path}: u holds {len(bad)} missing, NaN or infinite values, the first in trajectory "
            f"{trajectory}, snapshot {snapshot} (both counted from 0). Remove or fill them."
        )


def _interval(t: NDArray[np.float64], path: str) -> float:
    """The time between snapshots.

    Raises:
        InputError: the times do not rise in equal intervals.
    """
    intervals = np.diff(t)
    dt = float((t[-1] - t[0]) / len(intervals))
    worst = int(np.abs(intervals - dt).argmax())
    if not (intervals > 0).all():
        worst = int(intervals.argmin())
        raise InputError(
            f"{path}: t must rise; t[{worst}]={t[worst]:g} is followed by {t[worst + 1]:g}."
        )
    if abs(intervals[worst] - dt) > EVEN * dt:
        raise InputError(
            f"{path}: the snapshots must be equally spaced in time; the interval after "
            f"t[{worst}]={t[worst]:g} is {intervals[worst]:g}, their mean {dt:g}. Interpolate u to "
            "equal intervals."
        )
    return dt


def _splits(states: Tensor, seed: int, path: str) -> tuple[Tensor, Tensor, Tensor]:
    n, snapshots = states.shape[:2]
    if n >= CUT_IN_TIME_BELOW:
        generator = torch.Generator().manual_seed(seed)
        return tenths(states[torch.randperm(n, generator=generator)])
    tenth = snapshots // 10
    if tenth < 2:
        raise InputError(
            f"{path}: {n} trajector{'y' if n == 1 else 'ies'} of {snapshots} snapshots cannot be "
            f"cut into training, validation and test; at least 20 snapshots are needed, or "
            f"{CUT_IN_TIME_BELOW} trajectories."
        )
    train, val, test = states.split([snapshots - 2 * tenth, tenth, tenth], dim=1)
    return train, val, test
