"""The objects of a run, made from its configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from symadj.calls.integrator import Integrator
from symadj.calls.solving import Solution, check_compilable
from symadj.config.build import build, with_full_keys
from symadj.config.schema import Config, RunSettings
from symadj.data.base import Batch, Data, VectorData, place_batch
from symadj.data.physics.snapshots import SnapshotData
from symadj.errors import InputError, SolveError
from symadj.grad import GradientMethod
from symadj.memory import require_memory
from symadj.ode.events import Events
from symadj.ode.layout import State
from symadj.ode.settings import SolverSettings
from symadj.ode.user_function import Func
from symadj.run.optim import Adam
from symadj.run.seed import own_randomness
from symadj.tasks.base import Task


@dataclass
class Parts:
    """What a training needs.

    Attributes:
        data, task: a `Data` and a `Task`, of whatever class.
        model: on the device, in the dtype of the run.
        integrator: solver and gradient method.
        optim: what made the next two, and follows the validations.
        optimizer, scheduler: of all the model's parameters.
        device: where the model is.
        dtype: of data and parameters.
    """

    data: Any
    model: nn.Module
    task: Any
    integrator: Integrator
    optim: Adam
    optimizer: Optimizer
    scheduler: LambdaLR
    device: torch.device
    dtype: torch.dtype

    def place(self, batch: Batch) -> Any:
        """The batch on the run's device, its floating point numbers in the run's dtype."""
        return place_batch(batch, self.dtype, self.device)

    def batch(self, n: int, generator: torch.Generator) -> Any:
        """A training batch of n samples, placed."""
        return self.place(self.task.sample_batch(self.data, n, generator))

    def evaluate(self, split: str, settings: RunSettings, test: bool = False) -> dict[str, float]:
        """The task's metrics on a split, on noise of the run's seed that is the same every time.

        The model is in evaluation mode afterwards.
        """
        self.model.eval()
        with own_randomness(settings.seed):
            score = self.task.test if test else self.task.evaluate
            size = settings.train.eval_batch_size
            x = self.place(self.task.split(self.data, split))
            metrics = score(self.model, x, self.data, self.integrator, size)
        return {name: float(value) for name, value in metrics.items()}

    def parameter_count(self) -> int:
        """The number of trained parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def build_parts(config: Config, settings: RunSettings) -> Parts:
    """Makes all objects of a run; nothing is trained yet.

    Args:
        config: for its groups.
        settings: the same, typed.

    Raises:
        InputError: a setting that cannot be used.
        IncompatibleError: a solver and a gradient method that exclude each other.
    """
    device = pick_device(settings.device)
    dtype = getattr(torch, settings.dtype)
    # The cheap ones first: a wrong pair is refused before a large data set is read.
    integrator = NamingIntegrator(
        build(config["solver"], "solver"), build(config["grad"], "grad"), config["solver"]
    )
    check_pair(integrator)
    optim = build(config["optim"], "optim")
    task = build(config["task"], "task")
    if not isinstance(task, Task):
        raise InputError(
            f"task._target_={config['task']['_target_']} is no task: derive it from "
            "symadj.tasks.base.Task, which has all that a task needs but `loss` and `evaluate`."
        )
    data = build(config["data"], "data")
    if isinstance(data, VectorData):
        data.round_to(dtype)
    check_batch(data, settings)
    offered = data.model_arguments()
    check_memory(config["model"], offered, data, settings, device)
    model = build(config["model"], "model", offered=offered)
    model = model.to(device=device, dtype=dtype)
    task.bind(data, model, integrator)
    optimizer, scheduler = optim.build(model.parameters(), settings.train.steps)
    return Parts(data, model, task, integrator, optim, optimizer, scheduler, device, dtype)


class NamingIntegrator(Integrator):
    """An integrator whose solves call the solver's settings by their keys, where they object.

    Args:
        solver: method, tolerances, options.
        gradient: the gradient method.
        settings: that the solver was made of.
    """

    def __init__(
        self, solver: SolverSettings, gradient: GradientMethod, settings: Mapping[Any, Any]
    ) -> None:
        super().__init__(solver, gradient)
        self._settings = settings

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        """`Integrator.solve`."""
        try:
            return super().solve(func, y0, t, params, events)
        except InputError as error:
            error.args = (with_full_keys(str(error), "solver", self._settings),)
            raise


def check_batch(data: Data, settings: RunSettings) -> None:
    """Raises `InputError` for a batch of more rows than there are, where it is drawn from them."""
    rows, wanted = len(data.train), settings.train.batch_size
    if data.draws_rows and wanted > rows:
        raise InputError(
            f"train.batch_size={wanted}, and {data.name} has {rows} training rows, from which a "
            f"batch is drawn. Take train.batch_size={rows} or less, or more data."
        )


def check_memory(
    node: Config,
    offered: Mapping[str, Any],
    data: Any,
    settings: RunSettings,
    device: torch.device,
) -> None:
    """Refuses a model or a batch that cannot fit, before either is allocated.

    The model is made without storage first. A training holds its weights, their gradient and the
    optimiser's two moments; a step of a solver holds its batch, the state before and behind it, the
    derivatives of some stages, and the outputs of a layer.

    Args:
        node: the configuration of the model.
        offered: to its constructor.
        data, settings: of the run.
        device: where the model will be.

    Raises:
        InputError: more memory is needed than there is; or as `build`.
    """
    try:
        with torch.device("meta"):
            model = build(node, "model", offered=offered)
    except InputError:
        raise
    except Exception:
        # A class of a user's own may read the numbers it makes: its size is not foreseen.
        return
    weights = [p for p in model.parameters() if p.requires_grad]
    size = getattr(torch, settings.dtype).itemsize
    count = sum(p.numel() for p in weights)
    hidden = "" if "hidden" not in node else f" of model.hidden={list(node['hidden'])}"
    require_memory(
        4 * size * count,
        f"a training of a model with {count:,} parameters ({type(model).__name__}{hidden})",
        "take a smaller model",
        device,
    )
    widest = max((p.shape[0] for p in weights if p.dim() > 1), default=1)
    rows = settings.train.batch_size
    if not isinstance(data, SnapshotData):
        require_memory(
            size * rows * (widest + 6 * data.dim),
            f"train.batch_size={rows}: a step of the solver",
            "take a smaller batch",
            device,
        )


def check_pair(integrator: Integrator) -> None:
    """Raises `IncompatibleError` where the gradient method cannot follow the solver.

    The smallest problem is solved and differentiated with the run's own methods: whatever a pair
    refuses, it refuses here. An explicit grid fits no other interval and is left to the run.
    """
    if integrator.solver.grid is not None:
        return
    # Loose tolerances, or one step: what the run's own ones cost is not the question here.
    check_compilable(integrator.solver, integrator.gradient)
    fixed = {} if integrator.solver.adaptive else {"num_steps": 1, "step_size": None}
    loose = replace(integrator.solver, rtol=1e-3, atol=1e-3, compile=False, **fixed)
    probe = Integrator(loose, integrator.gradient)
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 1e-3], dtype=torch.float64)
    # A tiny max_steps may end the probe; that says nothing about the pair.
    with torch.enable_grad(), contextlib.suppress(SolveError):
        probe.solve(lambda t, y: -y, x, t).ys[-1].sum().backward()


def pick_device(name: str) -> torch.device:
    """The device of this name; "auto" is cuda where there is one, else cpu.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device={name!r}; allowed: auto, cpu, cuda, cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices that torch "
            "can use; take device=cpu or device=auto."
        )
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name}: only cpu and cuda are supported.")
    return device
