"""The grid of `test_numbers`: every setting of every command, and the values it is given."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from symadj.config.bench import OWN
from symadj.config.build import locate
from symadj.config.compose import compose
from symadj.config.groups import GUIDE_GROUPS
from symadj.config.schema import MeasureSettings, RunSettings, TrainSettings
from symadj.ranges import RANGES

VALUES = ("0", "-1", "nan", "inf", "1e-320", "1e308", "1" + "0" * 30, "1.5", "text", "")

GROUPS = ("data", "model", "task", "solver", "grad", "optim")

TINY = (
    *("train.steps=1", "train.batch_size=4", "train.eval_every=1", "train.eval_batch_size=20"),
    *("train.test=false", "train.figures=false", "train.max_seconds=20", "measure.iterations=1"),
    *("measure.warmup=0", "threads=1"),
)
PLANE = ("data=toy2d", "data.size=20", "model.hidden=[4]")
BODIES = ("data=two_body", "data.samples=2", "model.hidden=[4]")
BALLS = ("data=bouncing_ball", "data.samples=10", "data.impacts=2")
GRID = (
    *("data=kdv", "data.trajectories=2", "data.steps=4", "data.data_dir=cache"),
    "model.hidden=[4]",
)
STIFF = ("data=robertson", "data.samples=3", "solver=kvaerno5")
DIGITS = ("data=digits", "model.hidden=[4]")
CLASSES = (*DIGITS, "task=classify")
VELOCITY = ("data=digits", "task=flow_matching", "model.width=4", "model.blocks=1")

# How a small run of an option of a group is made, one for every constructor that there is.
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "data": {
        "toy2d": PLANE,
        "mixture": ("data=mixture", "data.size=20", "data.dim=2", "model.hidden=[4]"),
        "digits": DIGITS,
        "csv": ("data=csv", "data.path=table.csv", "model.hidden=[4]"),
        "trajectories": ("data=trajectories", "data.path=orbits.npz", "model.hidden=[4]"),
        "kdv": GRID,
        "cahn_hilliard": ("data=cahn_hilliard", *GRID[1:]),
        "mass_spring": ("data=mass_spring", *BODIES[1:]),
        "pendulum": ("data=pendulum", *BODIES[1:]),
        "double_pendulum": ("data=double_pendulum", "data.samples=3", "model.hidden=[4]"),
        "lorenz63": ("data=lorenz63", "data.samples=3", "model.hidden=[4]"),
        "robertson": STIFF,
        "van_der_pol": ("data=van_der_pol", *STIFF[1:]),
        "two_body": BODIES,
        "bouncing_ball": BALLS,
        "patches": (
            *("data=patches", "data.train=20", "data.val=20", "data.test=20"),
            "model.hidden=[4]",
        ),
        "shuttle": ("data=shuttle", "model.hidden=[4]"),
    },
    "model": {
        "cnf": PLANE,
        "conv_cnf": (*DIGITS, "model=conv_cnf", "data.standardise=true"),
        "energy_conv": GRID,
        "node_conv": (*GRID, "model=node_conv"),
        "hnn": BODIES,
        "node_mlp": (*BODIES, "model=node_mlp"),
        "system_constants": STIFF,
        "classifier_mlp": CLASSES,
        "classifier_conv": (
            *("data=digits", "task=classify", "model=classifier_conv", "model.channels=[2]"),
        ),
        "bouncing_ball": BALLS,
        "velocity_mlp": VELOCITY,
        "velocity_unet": (
            *("data=digits", "task=flow_matching", "model=velocity_unet", "model.channels=[4]"),
            *("model.width=4", "model.blocks=1"),
        ),
    },
    "task": {
        "density": PLANE,
        "physics": BODIES,
        "classify": CLASSES,
        "impacts": BALLS,
        "flow_matching": VELOCITY,
    },
    "solver": {"dopri5": PLANE, "rk4": (*PLANE, "solver=rk4", "solver.num_steps=2")},
    "grad": {
        "symplectic": PLANE,
        "aca": (*PLANE, "grad=aca"),
        "reversible": (*PLANE, "grad=reversible", "solver=alf", "solver.num_steps=2"),
        "backprop": (*PLANE, "grad=backprop"),
        "checkpoint": (*PLANE, "grad=checkpoint"),
        "adjoint": (*PLANE, "grad=adjoint"),
        "auto": (*PLANE, "grad=auto", "grad.memory=64MiB"),
    },
    "optim": {"adam_plateau": (*PLANE, "optim=adam_plateau")},
}

# Sets whose constructor takes nothing but the directory of files that have to be fetched, and one
# whose arguments are those of the digits.
ELSEWHERE = (
    *("bsds300", "bsds300_images", "gas", "hepmass", "miniboone", "power"),
    "mnist5k",
)

# Sets of other packages, by the package: without it they are not walked.
PACKAGES = {"patches": "skimage", "shuttle": "river"}

BENCH = (
    *(*PLANE, "train.batch_size=4", "grads=[symplectic]", "isolate=false", "repeats=1"),
    *("compare=false", "threads=1"),
)

# The runs that are looked at, and how they are made.
RUN, PLANE_FLOW, DIGITS_FLOW, CLASSIFIER = "run", "plane_flow", "digits_flow", "classifier"
LOOKED_AT = {
    RUN: PLANE,
    PLANE_FLOW: ("data=toy2d", "data.size=20", *VELOCITY[1:]),
    DIGITS_FLOW: VELOCITY,
    CLASSIFIER: CLASSES,
}

GUIDE = ("n=2", "solver=heun3", "solver.num_steps=2", "figures=false")
FILLED = (DIGITS_FLOW, *GUIDE, "goal=inpaint", "way.evaluations=2")

# How samples are guided a little by an option of a group of symadj-guide.
GUIDE_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "goal": {
        "classify": (
            *(DIGITS_FLOW, *GUIDE, "goal=classify", f"goal.classifier={CLASSIFIER}"),
            "way.evaluations=2",
        ),
        "deblur": (DIGITS_FLOW, *GUIDE, "goal=deblur", "way.evaluations=2"),
        "function": (
            *(PLANE_FLOW, *GUIDE, "goal=function", "goal.function=torch.linalg.vecdot"),
            "way.evaluations=2",
        ),
        "inpaint": FILLED,
        "superres": (DIGITS_FLOW, *GUIDE, "goal=superres", "way.evaluations=2"),
        "target": (PLANE_FLOW, *GUIDE, "goal=target", "way.evaluations=2"),
    },
    "way": {
        "source": FILLED,
        "step": (*FILLED[:-1], "way=step"),
        "weights": (*FILLED[:-1], "way=weights", "way.iterations=2"),
    },
}


@dataclass(frozen=True)
class Field:
    """A setting of a small run.

    Attributes:
        command: "train", "bench", "sample", "eval" or "guide".
        base: the run's other settings.
        key: of the setting, in full.
        added: whether the configuration leaves the setting out.
    """

    command: str
    base: tuple[str, ...]
    key: str
    added: bool = False

    def __str__(self) -> str:
        choice = next((b for b in self.base if b.partition("=")[0] == self.key.split(".")[0]), "")
        return f"{self.command}-{choice}-{self.key}"

    def override(self, value: str) -> str:
        """The setting with a value; a list of it where a list is due."""
        known = RANGES.get(self.key)
        if known is not None and known.each:
            pair = self.key in ("optim.betas", "model.image_shape", "goal.point") and value
            value = f"[{value},{value}]" if pair else f"[{value}]"
        return f"{'+' if self.added else ''}{self.key}={value}"


def fields() -> list[Field]:
    """All settings of the commands that take any."""
    return [
        *_typed(),
        *_groups(),
        *(Field("bench", BENCH, name) for name in sorted(OWN)),
        *(Field("sample", (RUN, "n=2"), name) for name in ("n", "seed", "out")),
        *(Field("eval", (RUN,), name) for name in ("split", "exact", "solver.rtol", "threads")),
        *_guided(),
        *(Field("guide", FILLED, name) for name in ("n", "seed", "class", "guidance", "out")),
    ]


def write_inputs(folder: Path) -> None:
    """The files that the small runs read."""
    rng = np.random.default_rng(0)
    rows = "\n".join(",".join(map(str, row)) for row in rng.normal(size=(40, 2)))
    (folder / "table.csv").write_text(f"a,b\n{rows}\n")
    np.savez(folder / "orbits.npz", t=np.arange(6.0), u=rng.normal(size=(3, 6, 2)))


def _typed() -> Iterator[Field]:
    sections: dict[str, type] = {"train": TrainSettings, "measure": MeasureSettings}
    for field in dataclasses.fields(RunSettings):
        if field.name not in (*sections, *GROUPS):
            # -1 and 10^30 are true: the compiler is left out where the gradient cannot be compiled.
            base = (*PLANE, "grad=backprop") if field.name == "compile" else PLANE
            yield Field("train", (*TINY, *base), field.name)
    for section, schema in sections.items():
        for field in dataclasses.fields(schema):
            yield Field("train", (*TINY, *PLANE), f"{section}.{field.name}")


def _groups() -> Iterator[Field]:
    for group, options in OPTIONS.items():
        for option, base in options.items():
            if option in PACKAGES and find_spec(PACKAGES[option]) is None:
                continue
            node = compose("train", list(base))[group]
            for name in inspect.signature(locate(node["_target_"], group)).parameters:
                if f"{group}.{name}" != "model.dim":  # the data say what it is
                    yield Field("train", (*TINY, *base), f"{group}.{name}", name not in node)


def _guided() -> Iterator[Field]:
    for group, options in GUIDE_OPTIONS.items():
        for base in options.values():
            asked = [o for o in base if o.startswith(GUIDE_GROUPS)]
            target = compose("guide", asked)[group]["_target_"]
            for name in inspect.signature(locate(target, group)).parameters:
                yield Field("guide", base, f"{group}.{name}")


def looked_at(field: Field) -> list[str]:
    """The runs that a field's command is given."""
    given = {argument.rpartition("=")[2] for argument in field.base}
    return [run for run in LOOKED_AT if run in given]
