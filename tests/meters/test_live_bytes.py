"""Byte counts of small cases that can be counted by hand; float32 has 4 bytes."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

from symadj.errors import MemoryBudgetExceeded
from symadj.meters.live_bytes import StorageCounter


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> Iterator[None]:
    """Leaves out what other tests have imported, so that a collection takes no second."""
    gc.freeze()
    yield
    gc.unfreeze()


def peak_of(block: Callable[[], object]) -> int:
    with StorageCounter() as counter:
        block()
    return counter.peak


def test_a_chain_of_sums_keeps_two_tensors_alive_at_a_time() -> None:
    x = torch.ones(250)

    def chain() -> None:
        y = x + x
        for _ in range(5):
            y = y + x

    assert peak_of(chain) == 2 * 1000


def test_every_tensor_of_a_list_that_is_kept_counts() -> None:
    x = torch.ones(250)
    with StorageCounter() as counter:
        kept = [x * float(i) for i in range(5)]
        assert counter.live == 5000
        del kept[1:]
        assert counter.live == 1000
    assert counter.peak == 5000


def test_freeing_after_the_block_is_noticed() -> None:
    with StorageCounter() as counter:
        kept = torch.zeros(250)
    assert counter.live == 1000
    del kept
    assert (counter.live, counter.peak) == (0, 1000)


def test_views_and_writes_in_place_count_nothing() -> None:
    x = torch.ones(10, 25)

    def block() -> None:
        x.view(250)[3:].add_(1.0)
        x.t().unsqueeze(0).expand(4, 25, 10)
        x.detach().mul_(2.0).clamp_(max=7.0)
        x.split(5)[0].zero_()
        torch.add(x, x, out=x)
        x.real.reshape(5, 50)

    assert peak_of(block) == 0


def test_a_view_keeps_its_whole_storage_alive() -> None:
    with StorageCounter() as counter:
        view = torch.zeros(250)[:1]
        assert counter.live == 1000
        del view
        assert counter.live == 0


def test_a_reshape_that_copies_counts_the_copy() -> None:
    x = torch.ones(10, 25)
    with StorageCounter() as counter:
        kept = x.t().reshape(-1)
    assert counter.live == kept.untyped_storage().nbytes() == 1000


def test_one_storage_returned_twice_counts_once() -> None:
    with StorageCounter() as counter:
        kept = torch.zeros(250).chunk(2)
    assert counter.live == 1000
    del kept


def test_tensors_from_before_never_count() -> None:
    before = [torch.ones(250)]
    weight = nn.Parameter(torch.ones(250))
    with StorageCounter() as counter:
        before[0] += weight.detach()
        weight.data.view(25, 10).t()
        assert counter.live == 0
        before.clear()
    assert (counter.live, counter.peak) == (0, 0)


def test_an_output_that_is_an_input_without_saying_so_counts_nothing() -> None:
    before = torch.ones(250)
    with StorageCounter() as counter:
        kept = torch.ops.aten._unsafe_view(before, [25, 10])
    assert kept.data_ptr() == before.data_ptr()
    assert counter.peak == 0


def test_a_known_storage_that_looks_fresh_counts_once() -> None:
    with StorageCounter() as counter:
        kept = torch.ones(250)
        again = torch.ops.aten.lift_fresh(kept)
    assert again.data_ptr() == kept.data_ptr()
    assert counter.live == 1000


def test_zeros_without_memory_count_nothing() -> None:
    with StorageCounter() as counter:
        kept = torch.ops.aten._efficientzerotensor([250])
    assert kept.untyped_storage().nbytes() == 1000
    assert counter.peak == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor([1.0] * 250),
        lambda: torch.empty(250),
        lambda: torch.arange(250, dtype=torch.float32),
        lambda: torch.randn(250),
        lambda: torch.ones(250).clone(),
        lambda: torch.empty_strided((250,), (1,)),
        lambda: torch.ones(1).new_full((250,), 2.0),
        lambda: torch.linspace(0, 1, 250),
        lambda: torch.stack([torch.ones(125)] * 2),
        lambda: torch.ones(250).double().float(),
    ],
)
def test_every_factory_counts(make: Callable[[], Tensor]) -> None:
    with StorageCounter() as counter:
        kept = make()
    assert counter.live == kept.untyped_storage().nbytes() == 1000


def test_a_storage_that_grows_counts_its_growth_and_for_a_moment_both() -> None:
    with StorageCounter() as counter:
        x = torch.ones(250)
        x.resize_(750)
        assert (counter.live, counter.peak) == (3000, 4000)
        x.resize_(10)  # keeps its storage
        assert counter.live == 3000
        del x
        assert counter.live == 0


def test_an_output_from_before_that_grows_counts_its_growth_alone() -> None:
    x, out = torch.ones(250), torch.empty(0)
    with StorageCounter() as counter:
        torch.add(x, x, out=out)
    assert counter.live == 1000
    del out
    assert counter.live == 0


def test_operators_of_inference_mode_are_divided() -> None:
    x = torch.ones(10, 25)
    with StorageCounter() as counter, torch.inference_mode():
        kept = [x.reshape(250), x.t().reshape(250), nn.functional.linear(x, x)]
    assert counter.live == 1000 + 400
    del kept


def test_a_subclass_counts_what_it_wraps() -> None:
    with StorageCounter() as counter:
        kept = TwoTensor(torch.ones(250), torch.ones(250))
        assert counter.live == 2000
        total = kept + kept
        assert counter.live == 4000
    del kept, total
    assert counter.live == 0


def test_sparse_tensors_do_no_harm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with StorageCounter() as counter:
            x = torch.eye(5).to_sparse()
            assert torch.equal((x + x).to_dense(), 2 * torch.eye(5))
    assert counter.peak >= 100


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
def test_transformed_functions_count() -> None:
    x, weight = torch.ones(50, 20), torch.ones(20, 20)

    def block() -> Tensor:
        per_sample = torch.func.vmap(torch.func.grad(lambda v: torch.tanh(v @ weight).sum()))
        return per_sample(x) + torch.func.jvp(torch.sin, (x,), (x,))[1]

    with StorageCounter() as counter:
        kept = block()
    assert counter.live == kept.untyped_storage().nbytes() == 4000
    assert 3 * 4000 <= counter.peak <= 8 * 4000


# Training


def tanh_layers(x: Tensor, weights: list[Tensor]) -> Tensor:
    for weight in weights:
        x = torch.tanh(x @ weight)
    return x


@pytest.mark.parametrize("depth", [2, 5, 9])
def test_backprop_needs_the_saved_activations_two_cotangents_and_one_weight_gradient(
    depth: int,
) -> None:
    batch, width = 64, 16
    x = torch.randn(batch, width)
    weights = [torch.randn(width, width, requires_grad=True) for _ in range(depth)]
    with StorageCounter() as counter:
        tanh_layers(x, weights).sum().backward()
    # After the last activation was released: depth - 1 activations, the cotangent of the last
    # layer and of its input, the gradient of its weight, the loss and its cotangent.
    assert counter.peak == 4 * ((depth + 1) * batch * width + width**2 + 2)
    assert counter.live == 4 * depth * width**2
    del weights
    assert counter.live == 0


def test_the_graph_is_freed_inside_backward() -> None:
    x = torch.ones(250, requires_grad=True)
    with StorageCounter() as counter:
        y = x.exp().tanh().sigmoid()  # each keeps its result
        loss = y.sum()
        del y
        assert counter.live == 3000 + 4
        loss.backward()
        assert counter.live == 1000 + 4
        del loss
    assert x.grad is not None
    assert counter.live == 1000


def test_recomputed_activations_are_kept_one_segment_at_a_time() -> None:
    x = torch.randn(64, 16)
    weights = [torch.randn(16, 16, requires_grad=True) for _ in range(12)]
    segments = [weights[i : i + 3] for i in range(0, 12, 3)]

    def recomputing() -> None:
        y: Tensor = x
        for segment in segments:
            y = checkpoint(tanh_layers, y, segment, use_reentrant=False)  # type: ignore
        y.sum().backward()

    whole = peak_of(lambda: tanh_layers(x, weights).sum().backward())
    assert peak_of(recomputing) < 0.75 * whole


class SineOfSelf(torch.autograd.Function):
    """Differentiates inside its own backward pass, as the gradient methods of symadj do."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *cotangents: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            out = y.clone()
            for _ in range(10):
                out = out.sin()
        return torch.autograd.grad(out, y, cotangents[0])[0]


def test_tensors_made_inside_a_function_s_backward_count() -> None:
    x = torch.ones(250, requires_grad=True)

    def forward() -> Tensor:
        return SineOfSelf.apply(x).sum()  # type: ignore[union-attr]

    assert peak_of(forward) == 1000 + 4
    assert peak_of(lambda: forward().backward()) >= 11_000


def test_a_gradient_of_a_gradient_keeps_the_graph_of_the_first() -> None:
    x = torch.ones(250, requires_grad=True)

    def squared_slope(create_graph: bool) -> int:
        with StorageCounter() as counter:
            (slope,) = torch.autograd.grad(x.sin().sum(), x, create_graph=create_graph)
            live = counter.live
            if create_graph:
                (second,) = torch.autograd.grad(slope.square().sum(), x)
                assert torch.allclose(second, -(2 * x).sin())
        return live

    # The slope is the cosine times the sum's cotangent, of which one number is kept.
    assert squared_slope(create_graph=True) - squared_slope(create_graph=False) == 4


def three_uses(x: Tensor) -> None:
    """The cotangents of the three meet at y."""
    y = x.exp()
    torch.autograd.grad([y.exp(), y.tanh(), y.sigmoid()], [y], [torch.ones_like(x)] * 3)


def test_meeting_cotangents_are_summed_in_place_as_when_nobody_watches() -> None:
    # x, y, the three results and the cotangent that they share; two cotangents of y, the second
    # of which is added into the first.
    assert peak_of(lambda: three_uses(torch.ones(250, requires_grad=True))) == 8000


def sum_of_held_cotangents() -> None:
    x = torch.ones(250, requires_grad=True)
    y = x * 2.0
    held = [torch.ones_like(x), torch.ones_like(x)]
    torch.autograd.grad([y + 1.0, y + 2.0], [y], held)


def test_meeting_cotangents_that_somebody_holds_are_summed_anew() -> None:
    # x, y, two results, two cotangents, which a sum with a number hands on as they are; their sum.
    assert peak_of(sum_of_held_cotangents) == 7000


def test_a_cotangent_that_meets_itself_is_summed_anew() -> None:
    x, start = torch.ones(250, requires_grad=True), torch.ones(250)
    # The result, the cotangent of x + x, which goes to x twice, and the sum.
    assert peak_of(lambda: torch.autograd.grad([(x + x) * 2.0], [x], [start])) == 3000


def test_cotangents_that_keep_a_graph_are_summed_anew() -> None:
    x, start = torch.ones(250, requires_grad=True), torch.ones(250, requires_grad=True)

    def gradient(create_graph: bool) -> None:
        torch.autograd.grad([x * 2.0 + x * 3.0], [x], [start], create_graph=create_graph)

    # The result and the cotangents of the two products; with a graph their sum as well.
    assert peak_of(lambda: gradient(create_graph=False)) == 3000
    assert peak_of(lambda: gradient(create_graph=True)) == 4000


def test_a_sum_of_our_own_is_never_set_back() -> None:
    def block() -> None:
        with torch.no_grad():
            x, y = torch.ones(250), torch.ones(250)
            x = x + y
            del x, y

    assert peak_of(block) == 3000


def test_results_are_the_same_bit_for_bit() -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 8), nn.Mish())
        x = torch.randn(20, 8, requires_grad=True)
        y = x + net(x) * torch.sigmoid(x)
        y.square().mean().backward()
        return [y.detach(), *(p.grad for p in (x, *net.parameters()) if p.grad is not None)]

    expected = gradients()
    with StorageCounter():
        watched = gradients()
    assert len(expected) == len(watched) == 6
    assert all(torch.equal(a, b) for a, b in zip(expected, watched, strict=True))


# Budget


def test_the_operator_beyond_the_budget_raises_and_all_is_freed() -> None:
    x = torch.ones(250)
    counter = StorageCounter(budget=2999)
    kept: list[Tensor] = []

    def block() -> None:
        with counter:
            kept.append(x + x)
            kept.append(kept[0] * x)
            kept.append(kept[1].exp())
            pytest.fail("went on")

    with pytest.raises(MemoryBudgetExceeded) as raised:
        block()
    assert "aten.exp" in str(raised.value)
    assert "3000 bytes" in str(raised.value)
    assert "2999 bytes" in str(raised.value)
    del raised
    kept.clear()
    gc.collect()
    assert (counter.live, counter.peak) == (0, 3000)


@pytest.mark.parametrize("short", [0, 1])
def test_a_budget_holds_to_the_byte_in_the_backward_pass(short: int) -> None:
    x = torch.randn(64, 16)
    weights = [torch.randn(16, 16, requires_grad=True) for _ in range(3)]
    peak = 4 * (4 * 64 * 16 + 16**2 + 2)
    counter = StorageCounter(budget=peak - short)

    def step() -> None:
        with counter:
            tanh_layers(x, weights).sum().backward()

    if short:
        with pytest.raises(MemoryBudgetExceeded, match=r"live at aten\.mm"):
            step()
        weights.clear()
        gc.collect()
        assert counter.live == 0
    else:
        step()
        assert counter.peak == peak


def test_a_sum_in_place_does_not_break_the_budget_that_holds_it() -> None:
    x = torch.ones(250, requires_grad=True)

    def block() -> None:
        three_uses(x)

    counter = StorageCounter(budget=peak_of(block))
    with counter:
        block()
    assert counter.peak == counter._budget


def test_a_sum_anew_breaks_the_budget_that_does_not_hold_it() -> None:
    counter = StorageCounter(budget=6999)

    def block() -> None:
        with counter:
            sum_of_held_cotangents()
            torch.ones(1)

    with pytest.raises(MemoryBudgetExceeded, match="7000 bytes"):
        block()


def test_the_counter_keeps_nothing_alive() -> None:
    with StorageCounter() as counter:
        x = torch.ones(250, requires_grad=True)
        y = x.exp()
        y.sum().backward()
    tensors = [weakref.ref(x), weakref.ref(y)]
    del x, y
    assert [ref() for ref in tensors] == [None, None]
    mode = weakref.ref(counter)
    del counter
    gc.collect()
    assert mode() is None


def test_two_counters_may_be_nested() -> None:
    with StorageCounter() as outer:
        before = torch.ones(250)
        with StorageCounter() as inner:
            inside = torch.ones(250)
        after = torch.ones(250)
    assert (inner.live, outer.live) == (1000, 3000)
    del before, inside, after
    assert (inner.live, outer.live) == (0, 0)
