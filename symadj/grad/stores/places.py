"""Where kept tensors lie between the forward and the backward pass: here, in the host, on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections import defaultdict
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from symadj.errors import StorageError
from symadj.units import format_bytes


class Place(Protocol):
    """Takes tensors, gives them back, forgets them."""

    def put(self, tensor: Tensor) -> Any:
        """Keeps a tensor without its graph; the key by which it is had again.

        Raises:
            StorageError: there is no room for it.
        """
        ...

    def get(self, key: Any) -> Tensor:
        """The tensor, where it was before, with the same bits."""
        ...

    def drop(self, key: Any) -> None:
        """The tensor is not needed again."""
        ...

    def resident(self, key: Any) -> int:
        """Bytes that the tensor takes of its device's own memory while it is kept."""
        ...


class Here:
    """On the device: the tensor is its own key."""

    def put(self, tensor: Tensor) -> Tensor:
        """The tensor, without its graph."""
        return tensor.detach()

    def get(self, key: Tensor) -> Tensor:
        """The tensor."""
        return key

    def drop(self, key: Tensor) -> None:
        """Whoever holds the key lets go of it."""

    def resident(self, key: Tensor) -> int:
        """All of it."""
        return key.nbytes


class Blocks(Here):
    """On the device; on a CPU in few large blocks of memory, once there are many tensors.

    Thousands of kept tensors between short-lived ones of the same size would leave the allocator
    with as many holes, and the process with several times what is kept. For tensors that are let go
    of in the order opposite to that in which they came: a block goes with its last tensor.
    """

    def __init__(self) -> None:
        self._count = 0
        # Of every shape how many there have been, the last block and how much of it is taken.
        self._shapes: dict[torch.Size, tuple[int, Tensor | None, int]] = {}

    def put(self, tensor: Tensor) -> Tensor:
        """The tensor, or a copy in a block."""
        self._count += 1
        count, block, used = self._shapes.get(tensor.shape, (0, None, 0))
        self._shapes[tensor.shape] = count + 1, block, used
        if self._count <= _FEW or tensor.device.type != "cpu" or not tensor.numel():
            return tensor.detach()
        if block is None or used == len(block):
            room = min(max(1, count // 8), max(1, _LARGEST // tensor.nbytes))
            block, used = tensor.new_empty((room, *tensor.shape)), 0
        self._shapes[tensor.shape] = count + 1, block, used + 1
        return block[used].copy_(tensor.detach())


_FEW = 64
_LARGEST = 1 << 24


@dataclass(frozen=True)
class _Moved:
    """A copy in the host's memory and the device that it came from."""

    copy: Tensor
    device: torch.device


class Host:
    """In the host's pinned memory; a tensor that is on the CPU stays as it is.

    Both copies are queued on the stream that works with the tensor, so that neither waits: the
    stream writes to a freed block, and reads the copy, only after it has made the copy.
    """

    def put(self, tensor: Tensor) -> _Moved:
        """Queues the copy off the device."""
        tensor = tensor.detach()
        if tensor.device.type == "cpu":
            return _Moved(tensor, tensor.device)
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        copy.copy_(tensor, non_blocking=True)
        return _Moved(copy, tensor.device)

    def get(self, key: _Moved) -> Tensor:
        """Queues the copy back."""
        return key.copy.to(key.device, non_blocking=True)

    def drop(self, key: _Moved) -> None:
        """Whoever holds the key lets go of it."""

    def resident(self, key: _Moved) -> int:
        """None on another device than the CPU."""
        return key.copy.nbytes if key.device.type == "cpu" else 0


@dataclass(frozen=True)
class _Written:
    """Where in the file a tensor lies, and what it is."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize


class Disk:
    """In one file without a name, which the system removes with the object or the process.

    Room of a dropped tensor is used again by the next one of its size.

    Args:
        folder: in which the file lies; None: the system's folder for temporary files.

    Raises:
        StorageError: no file can be made there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._where = str(folder or tempfile.gettempdir())
        try:
            file = tempfile.TemporaryFile(dir=self._where, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise StorageError(
                f"no file for the states of a solve can be made in {self._where} ({error}). Make "
                "the folder, or name another as offload_dir."
            ) from error
        self._file = cast(FileIO, file)
        weakref.finalize(self, file.close)
        self._end = 0
        self._free: dict[int, list[int]] = defaultdict(list)

    def put(self, tensor: Tensor) -> _Written:
        """Writes the tensor's bytes."""
        nbytes = tensor.nbytes
        room = self._free[nbytes]
        offset = room.pop() if room else self._end
        try:
            self._file.seek(offset)
            rest = _bytes_of(tensor.detach().cpu().contiguous())
            while len(rest) > 0:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise StorageError(
                f"a state of {format_bytes(nbytes)} could not be written in {self._where}, after "
                f"{format_bytes(self._end)} of the same solve ({error}). Free some room, name a "
                "folder with more as offload_dir, or keep less: store=revolve."
            ) from error
        self._end = max(self._end, offset + nbytes)
        return _Written(offset, tensor.shape, tensor.dtype, tensor.device)

    def get(self, key: _Written) -> Tensor:
        """Reads the tensor's bytes into a new one."""
        tensor = torch.empty(key.shape, dtype=key.dtype)
        self._file.seek(key.offset)
        rest = _bytes_of(tensor)
        while len(rest) > 0:
            count = self._file.readinto(rest)
            if not count:
                raise StorageError(f"the file of kept states in {self._where} was cut short.")
            rest = rest[count:]
        return tensor.to(key.device)

    def drop(self, key: _Written) -> None:
        """Its room is free."""
        self._free[key.nbytes].append(key.offset)

    def resident(self, key: _Written) -> int:
        """None."""
        return 0


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data
