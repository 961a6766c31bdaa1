"""What is kept between the passes: its settings, its bits, and when it goes."""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from symadj import IncompatibleError, InputError, odeint, solve
from symadj.errors import StorageError
from symadj.grad import ACA, Symplectic
from symadj.grad.stores import Blocks, Disk
from symadj.grad.stores.places import Host
from tests.devices import DEVICES
from tests.fields import Wave, start

T = torch.tensor([0.0, 1.0], dtype=torch.float64)


def store_of(ys: Tensor) -> Any:
    """What the solve behind these outputs keeps."""
    node: Any = ys.grad_fn
    return node.solve.store


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"store": "stage"}, "Did you mean 'stages'"),
        ({"store": "revolve"}, "needs slots"),
        ({"store": "revolve", "slots": 1}, "slots=1; .* whole number from 2 to"),
        ({"slots": 3}, "only store=revolve bounds"),
        ({"offload": "disc"}, "Did you mean 'disk'"),
        ({"offload_dir": "/tmp"}, "folder of offload=disk"),
        ({"offload": "disk", "offload_dir": "/nowhere/at/all"}, "is no folder"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Symplectic(**settings)


def test_aca_has_no_use_for_stages() -> None:
    with pytest.raises(IncompatibleError, match="takes steps or revolve"):
        ACA(store="stages")


def test_revolve_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "checkpoint_schedules", None)
    with pytest.raises(InputError, match=r"pip install 'symadj\[revolve\]'"):
        Symplectic(store="revolve", slots=3)


def test_a_method_says_how_it_keeps() -> None:
    assert repr(Symplectic()) == "Symplectic()"
    assert repr(ACA("revolve", slots=3)) == "ACA(store='revolve', slots=3)"


class Recorder(Wave):
    """Remembers the bits of every (t, y) at which it is evaluated without graph."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, bytes]] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            self.seen.append((float(t), y.detach().numpy().tobytes()))
        return super().forward(t, y)


@pytest.mark.parametrize("method", ["midpoint", "bosh3", "dopri5", "tsit5", "dop853"])
def test_recomputed_states_have_the_bits_of_the_first(method: str) -> None:
    field = Recorder()
    loss = solve(
        field, start(4, 3), T, method=method, rtol=1e-4, atol=1e-4,
        options={"num_steps": 9} if method == "midpoint" else {"first_step": 0.4},
        gradient=Symplectic(store="revolve", slots=2),
    ).ys.sum()  # fmt: skip
    first = set(field.seen)
    field.seen = []
    loss.backward()
    # But for f(t0, y0), which the forward pass looks at with a graph.
    begun = {(0.0, start(4, 3).detach().numpy().tobytes())}
    assert len(field.seen) > 0
    assert set(field.seen) <= first | begun


def test_views_of_a_larger_tensor_do_not_keep_it() -> None:
    weight = start(3, 3)

    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y @ weight, y.new_zeros(4, 300)], 1)[:, :3]

    ys = odeint(func, start(4, 3), T, method="rk4", options={"num_steps": 3},
                gradient=Symplectic(store="stages"))  # fmt: skip
    tensors = [one.get() for kept in store_of(ys).kept for one in kept.values()]
    assert len(tensors) == 3 * 4
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("store", ["steps", "stages"])
def test_what_was_kept_goes_in_the_last_backward_pass(store: str) -> None:
    ys = odeint(Wave(), start(4, 3), T, method="rk4", options={"num_steps": 5},
                gradient=Symplectic(store=store))  # fmt: skip
    kept = store_of(ys)
    before = kept.resident_bytes
    loss = ys.sum()
    loss.backward(retain_graph=True)
    assert kept.resident_bytes == before > 0
    loss.backward()
    assert kept.resident_bytes == 0


def test_a_backward_pass_that_broke_off_is_not_taken_up_again() -> None:
    class Failing(Wave):
        fails = False

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            if self.fails:
                raise ZeroDivisionError
            return super().forward(t, y)

    field = Failing()
    loss = odeint(field, start(4, 3), T, rtol=1e-4).sum()
    field.fails = True
    with pytest.raises(ZeroDivisionError):
        loss.backward()
    field.fails = False
    with pytest.raises(Exception, match="broke off"):
        loss.backward()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_the_file_goes_with_the_graph(tmp_path: Path) -> None:
    gradient = Symplectic(offload="disk", offload_dir=str(tmp_path))
    before = open_files()
    ys = odeint(Wave(), start(4, 3), T, rtol=1e-4, gradient=gradient)
    assert open_files() == before + 1
    assert os.listdir(tmp_path) == []
    del ys
    gc.collect()
    assert open_files() == before


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    gradient = Symplectic(offload="disk", offload_dir=str(folder))
    folder.rmdir()
    with pytest.raises(StorageError, match="name another as offload_dir"):
        odeint(Wave(), start(4, 3), T, rtol=1e-4, gradient=gradient)


def test_a_full_disk(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"after 960 B of the same solve.*Free some room"):
            odeint(Wave(), start(4, 3), T, method="rk4", options={"num_steps": 20},
                   gradient=Symplectic(offload="disk", offload_dir=str(tmp_path)))  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_room_of_dropped_tensors_is_used_again() -> None:
    place = Disk(Path(tempfile.gettempdir()))
    one, two = torch.randn(5), torch.randn(2, 3, dtype=torch.float64)
    first, second = place.put(one), place.put(two)
    place.drop(first)
    third = place.put(one + 1)
    assert third.offset == first.offset
    assert torch.equal(place.get(third), one + 1)
    assert torch.equal(place.get(second), two)


@pytest.mark.parametrize("store", ["steps", "stages"])
def test_many_states_lie_in_few_blocks(store: str) -> None:
    steps, field, y0 = 500, Wave(), start(4, 3)
    options = {"num_steps": steps}
    ys = odeint(field, y0, T, method="rk4", options=options, gradient=Symplectic(store))
    kept = store_of(ys)
    states = [one.key for one in (kept.starts if store == "steps" else flat(kept.kept))]
    assert len(states) == steps * (1 if store == "steps" else 4)
    blocks = {s.untyped_storage().data_ptr(): s.untyped_storage().nbytes() for s in states}
    assert len(blocks) < 100
    assert sum(blocks.values()) < 1.15 * sum(s.nbytes for s in states)
    assert kept.resident_bytes == len(states) * y0.nbytes
    ours = torch.autograd.grad(ys.sin().sum(), [y0, field.weight])
    ys = odeint(field, y0, T, method="rk4", options=options, gradient="aca")
    for mine, other in zip(
        ours, torch.autograd.grad(ys.sin().sum(), [y0, field.weight]), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def flat(kept: list[dict]) -> list:
    return [one for step in kept for one in step.values()]


def test_blocks_hold_the_bits_of_tensors_of_several_shapes() -> None:
    place = Blocks()
    given = [torch.randn(3, 2 + i % 2) for i in range(300)] + [torch.randn(0, 3)]
    for tensor, key in zip(given, [place.put(t) for t in given], strict=True):
        assert torch.equal(place.get(key), tensor)


def test_tensors_of_two_shapes_in_turn_take_no_more_room_than_an_eighth_besides() -> None:
    place = Blocks()
    given = [torch.ones(2 if i % 4 == 0 else 1, 1000) for i in range(400)]
    blocks = {key.untyped_storage()._cdata: key for key in map(place.put, given)}
    taken = sum(key.untyped_storage().nbytes() for key in blocks.values())
    assert taken <= 1.125 * sum(tensor.nbytes for tensor in given)
    # Some of the first 64, which are their own, and few besides.
    assert len(blocks) < 100


OFFLOADS = [
    Symplectic(),
    Symplectic(offload="cpu"),
    Symplectic("stages", offload="cpu"),
    Symplectic("revolve", slots=2, offload="cpu"),
    Symplectic(offload="disk"),
    Symplectic("stages", offload="disk"),
]


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_offloaded_comes_back_with_the_same_bits(device: str) -> None:
    field, y0 = Wave().to(device), start(64, 3).detach().to(device).requires_grad_()
    found = []
    for gradient in OFFLOADS:
        solution = solve(field, y0, T.to(device), rtol=1e-4, gradient=gradient)
        found.append(torch.autograd.grad(solution.ys.sin().sum(), [y0, field.weight]))
        offload = gradient.keeping.offload
        away = offload == "disk" or (offload == "cpu" and device == "cuda")
        assert (solution.stats.checkpoint_bytes == 0) == away
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_the_host_keeps_a_device_s_tensor_in_pinned_memory(device: str) -> None:
    given = torch.randn(1000, 3, device=device)
    place, expected = Host(), given.cpu().clone()
    kept = place.put(given)
    # Queued on the stream that made the copy: what comes later cannot spoil it.
    if device == "cuda":
        given.zero_()
        torch.cuda.synchronize()
    assert kept.copy.device.type == "cpu"
    assert kept.copy.is_pinned() == (device == "cuda")
    assert torch.equal(kept.copy, expected)
    back = place.get(kept)
    assert back.device.type == device
    assert torch.equal(back.cpu(), expected)
    assert place.resident(kept) == (0 if device == "cuda" else given.nbytes)


def test_stages_at_once() -> None:
    given = Symplectic("revolve", slots=3, stages_at_once=2)
    assert repr(given) == "Symplectic(store='revolve', slots=3, stages_at_once=2)"
    with pytest.raises(IncompatibleError, match="stages_at_once=2 with store=stages"):
        Symplectic(store="stages", stages_at_once=2)
    with pytest.raises(InputError, match="stages_at_once=0"):
        Symplectic(stages_at_once=0)
