"""The parts of symadj import each other in one direction only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import symadj

PACKAGE = Path(symadj.__file__).parent

# What each part may import of the others in this table; imports inside functions and those for
# types alone count as well. A key is a folder, or a folder within one. docs/architecture.md says
# what they hold.
ARROWS: dict[str, set[str]] = {
    "ode.methods": set(),
    "ode": {"ode.methods"},
    "grad": {"meters", "ode", "ode.methods"},
    "calls": {"grad", "ode"},
    "face": {"calls", "grad", "ode", "ode.methods"},
    "torchdiffeq": {"calls", "grad", "ode", "ode.methods"},
    "meters": {"ode"},
    "models": {"calls", "ode"},
    "data": {"calls"},
    "config": {"face", "data", "meters", "ode", "ode.methods"},
    "records": {"face", "ode"},
    "figures": {"config", "data"},
    "report": {"config", "figures", "records"},
    "tasks": {"calls", "data", "figures", "models", "ode"},
    "run": {
        *("calls", "config", "data", "figures", "grad", "meters", "ode", "records", "tasks"),
    },
    "bench": {
        *("calls", "config", "data", "grad", "meters", "models", "ode", "ode.methods"),
        *("records", "report", "run", "tasks"),
    },
    "guide": {
        *("calls", "config", "figures", "grad", "meters", "models", "ode", "records", "run"),
    },
    "launch": {"bench", "config", "figures", "records", "run"},
    "cli": {
        *("bench", "config", "data", "figures", "guide", "launch", "models", "records", "report"),
        *("face", "run", "tasks", "ode.methods"),
    },
}

# The modules beside the folders, which all parts may import and which import none.
COMMON = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def imported(path: Path, package: str = "symadj") -> Iterator[str]:
    """What a file imports of the package, by names below it; "" is the package itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == package:
                yield rest


def part_of(name: str, parts: Mapping[str, object]) -> str | None:
    """The longest of the parts that this module or one of its parents is; None: none of them."""
    pieces = name.split(".")
    for length in range(len(pieces), 0, -1):
        if (parent := ".".join(pieces[:length])) in parts:
            return parent
    return None


def unforeseen(root: Path, arrows: Mapping[str, set[str]], package: str = "symadj") -> list[str]:
    """The imports below `root` that the table does not allow, in words."""
    found: list[str] = []
    known = {path.stem for path in root.iterdir()}
    for path in sorted(root.rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        importer = part_of(module, arrows)
        if importer is None:
            continue
        for name in imported(path, package):
            # What is neither a folder nor a module comes from the package's face, `__init__.py`.
            of_face = name.partition(".")[0] not in known
            part = "face" if of_face else part_of(name, arrows)
            if part and part != importer and part not in arrows[importer]:
                found.append(f"{module} imports {name or package}")
    return found


def test_the_parts_import_what_they_may() -> None:
    assert not unforeseen(PACKAGE, ARROWS)


def test_what_they_may_has_no_circle() -> None:
    assert set().union(*ARROWS.values()) <= ARROWS.keys()
    TopologicalSorter(ARROWS).prepare()  # CycleError names the parts of a circle


def test_the_common_modules_import_no_part() -> None:
    for name in sorted(COMMON):
        for other in imported(PACKAGE / f"{name}.py"):
            assert other.partition(".")[0] in COMMON, f"{name} imports {other}"


def test_hydra_and_omegaconf_are_known_to_config_alone() -> None:
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "experiments").rglob("*.py")]
    users = {f for f in files for name in ("hydra", "omegaconf") if list(imported(f, name))}
    assert {file.parent for file in users} == {PACKAGE / "config"}


def test_imports_for_types_inside_functions_and_of_the_package_itself_are_seen(
    tmp_path: Path,
) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "high").mkdir()
    (tmp_path / "low/typed.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.high.one import One\n"
    )
    (tmp_path / "low/late.py").write_text("def late():\n    from p import high\n")
    (tmp_path / "low/face.py").write_text("from p import odeint\nimport math\n")
    (tmp_path / "high/one.py").write_text("import p.low.typed\n")
    assert unforeseen(tmp_path, {"low": set(), "high": {"low"}}, "p") == [
        "low.face imports odeint",
        "low.late imports high",
        "low.typed imports high.one.One",
    ]
