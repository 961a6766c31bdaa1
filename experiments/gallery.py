"""The gallery of results: every figure, what it shows, and how old its records are.

    python experiments/gallery.py      write results/README.md

The records of a result are current where nothing that they measure has changed since their commit.
Which code that is, `MEASURES` says, and which commits change it and no figure, `SAME_FIGURES`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.results import CAPTIONS
from symadj.files import write_text

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"
SOLVES = ("symadj/ode", "symadj/grad", "symadj/calls")
MODELS = ("symadj/models", "symadj/tasks", "symadj/data", "configs")
NO_JAX = tuple(f":!symadj/bench/peers/{name}.py" for name in ("diffrax_peer", "jax_*"))
"""In git's words: all but these files."""
BESIDE_JAX = ("symadj/bench", "symadj/meters")
COSTS = (*BESIDE_JAX, *NO_JAX)
TRAINS = ("symadj/run",)
FLOWS = ("experiments/{name}.py", *SOLVES, *MODELS, *COSTS)
MEASURES: Mapping[str, Sequence[str]] = {
    "table1": ("experiments/table1.py", *SOLVES, *COSTS),
    "table2": (*FLOWS, *TRAINS),
    "table3": FLOWS,
    "table4": (*FLOWS, *TRAINS),
    "tolerance": (*FLOWS, *TRAINS),
    "likelihood": (*FLOWS, *TRAINS),
    "times": (*FLOWS, *TRAINS),
    "rounding": FLOWS,
    "steps": FLOWS,
    "peers": ("experiments/peers.py", "experiments/users", *SOLVES, *MODELS, *BESIDE_JAX),
    "controllers": (
        *("experiments/controllers.py", "experiments/controllers_problems.py"),
        *("experiments/controllers_solves.py", "experiments/users", "symadj/ode", "symadj/calls"),
    ),
    "stiff": (
        *("experiments/stiff.py", "experiments/stiff_problems.py", "experiments/stiff_solves.py"),
        *(*SOLVES, "symadj/meters"),
    ),
    "guidance": (
        *("experiments/guidance.py", "experiments/guidance_points.py", "symadj/guide"),
        *(*SOLVES, *MODELS, *TRAINS, "symadj/meters", "symadj/bench/peers", *NO_JAX),
    ),
    "zoo": ("experiments/zoo.py", *SOLVES, "symadj/meters"),
    "events": ("experiments/events.py", *SOLVES, *MODELS),
    "bench/traces": (*SOLVES, *MODELS, *COSTS),
    "digits": (*SOLVES, *MODELS, *TRAINS),
    "gallery/checkerboard": (*SOLVES, *MODELS, *TRAINS),
    "mnist5k_flow": (*SOLVES, *MODELS, *TRAINS),
    "stiff_training/van_der_pol": (*SOLVES, *MODELS, *TRAINS),
    "stiff_training/robertson": (*SOLVES, *MODELS, *TRAINS),
    "superres": (*SOLVES, *MODELS, *TRAINS, "symadj/guide"),
    "kdv_training": (*SOLVES, *MODELS, *TRAINS),
}
"""By folder the files whose changes make its records old; those that only draw are none."""
SAME_FIGURES: Mapping[str, str] = {
    "62626026ea2b935b16da5081f2a8c0c7de8297dd": "a looser bound of a check that only refuses; "
    "what it let through before is as it was",
}
"""Commits that touch what is measured and change no figure: why."""
SHOWS = {
    "bench/traces/bars": "Time and peak memory with a flow's trace by tangents, or by a "
    "reverse-mode pass inside the field.",
    "digits/samples": "64 handwritten digits beside 64 samples of a trained flow.",
    "mnist5k_flow/samples": "Handwritten digits of 28x28 pixels, ten of each class, beside samples "
    "of a U-Net trained by flow matching.",
    "superres/before_after": "Samples of that U-Net from the same noise before and after the noise "
    "was moved by exact gradients through the sampler, so that they look like the given 7x7 pixels "
    "when they are as coarse.",
    "gallery/checkerboard/density": "Points of the checkerboard, samples of a trained flow and its "
    "density.",
    "kdv_training/space_time": "A test trajectory of KdV, the roll-out of the trained energy "
    "network, and their difference.",
    "kdv_training/invariants": "Energy and mass over time of the truth and of the roll-out.",
    "kdv_training/loss_iteration": "Loss over the 10,000 iterations of the published training.",
    "table2/bars": "Peak memory and seconds of an iteration for each gradient method and data set.",
    "table3/table3": "Peak memory and seconds of an iteration with solvers of order 2 to 8.",
    "table4/kdv": "Errors of roll-outs over prediction time on KdV, beside persistence, the linear "
    "model and the true field.",
    "table4/cahn_hilliard": "Errors of roll-outs over prediction time on Cahn-Hilliard, beside "
    "persistence, the linear model and the true field.",
    "table4/differences": "The state MSE of every training against backpropagation's at the same "
    "seed, and how far seeds are apart.",
    "table4/costs": "Peak memory and time of a training step at the published size.",
    "tolerance/tolerance": "Errors of gradients, likelihood after training and time against the "
    "tolerance.",
    "rounding/rounding": "Errors of gradients by rounding against the number of steps.",
    "steps/steps": "Peak memory, its parts and the time of an iteration against the number of "
    "steps.",
    "steps/batch": "Peak memory and time per sample against the samples in the batch.",
    "table1/memory": "Peak memory against the number of steps, uses of a step, layers and "
    "components.",
    "peers/peers_users": "Time and peak memory with fields of users' own, beside torchdiffeq and "
    "diffrax.",
    "peers/peers": "Time and peak memory beside torchdiffeq and diffrax.",
    "controllers/work_precision": "Evaluations over the error of the solution for step "
    "controllers.",
    "controllers/relative": "Evaluations at equal error against symadj's default controller.",
    "events/events": "A bouncing ball and a bang-bang control, learnt through the times of events.",
}
"""What a figure shows whose folder has no captions yet."""
SEVERAL, DIRTY = "records of several commits", "measured with changes that are not committed"
ELSEWHERE, OLDER = "of a commit that is not in this history", "records older than the code"


@dataclass(frozen=True)
class Measured:
    """The records of a folder.

    Attributes:
        file: that they are in.
        commits: that they were measured at, sorted.
        date: of the last one, YYYY-MM-DD; empty where they do not say.
    """

    file: Path
    commits: tuple[str, ...]
    date: str


def folders(results: Path) -> list[str]:
    """The folders below results/ that have records, as they are called in `MEASURES`."""
    found = {path.parent for path in results.rglob("record*.json")}
    names = (str(path.relative_to(results)) for path in found)
    return sorted(name for name in names if "runs" not in Path(name).parts)


def measured(folder: Path) -> Measured:
    """Reads the records of a folder, whatever wrote them."""
    [file] = folder.glob("record*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    records = content if isinstance(content, list) else [content]
    around = [a for r in records for a in r.get("environments") or [r["environment"]]]
    commits = sorted({str(a.get("commit")) for a in around})
    rows = [cell["record"] for r in records for cell in r.get("cells", ())] or records
    dates = [r.get("finished") or r.get("written") or "" for r in rows]
    return Measured(file, tuple(commits), max(dates)[:10])


def faults(name: str, records: Measured) -> dict[str, str]:
    """What speaks against the records of a folder: what is wrong -> the same with its figures."""
    found = {}
    clean = [commit.removesuffix("-dirty") for commit in records.commits]
    if len(clean) > 1:
        found[SEVERAL] = SEVERAL
    if clean != list(records.commits):
        found[DIRTY] = DIRTY
    known = [commit for commit in clean if _is_ancestor(commit)]
    if known != clean:
        found[ELSEWHERE] = ELSEWHERE
    paths = [path.format(name=name) for path in MEASURES[name]]
    later = {commit: _later(commit, paths) for commit in known}
    if any(later.values()):
        oldest = max(later.values(), key=len)
        count = len(oldest)
        touched = git("log", "--no-walk", "--format=", "--name-only", *oldest, "--", *paths)
        files = set(touched.split())
        old = [path for path in paths if any(f"{f}/".startswith(f"{path}/") for f in files)]
        are = "commit touches" if count == 1 else "commits later touch"
        found[OLDER] = f"{OLDER}: {count} {are} {', '.join(old)}"
    return found


def _later(commit: str, paths: Sequence[str]) -> list[str]:
    """The commits after this one that touch the paths and may change figures."""
    found = git("log", "--format=%H", f"{commit}..HEAD", "--", *paths).split()
    return [touching for touching in found if touching not in SAME_FIGURES]


def _is_ancestor(commit: str) -> bool:
    command = ("git", "-C", str(ROOT), "merge-base", "--is-ancestor", commit, "HEAD")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def git(*words: str) -> str:
    """What git says of this checkout.

    Raises:
        OSError, CalledProcessError: there is no git, or it fails.
    """
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def figures(results: Path, name: str) -> dict[str, str]:
    """The figures of a folder by their stems, each with what is on it; empty: nobody says."""
    file = results / name / CAPTIONS
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    said = dict(re.findall(r"^\*\*(.+?)\*\*: (.+)$", text, flags=re.M))
    stems = sorted(path.stem for path in (results / name).glob("*.png"))
    return {stem: said.get(stem) or SHOWS.get(f"{name}/{stem}", "") for stem in stems}


def section(results: Path, name: str) -> str:
    """The part of the gallery on a folder."""
    records = measured(results / name)
    told = [
        f"![{text.rstrip('.')}]({name}/{stem}.png)\n\n{text}"
        for stem, text in figures(results, name).items()
    ]
    against = "; ".join(faults(name, records).values()) or "current"
    source = f"[{name}]({name}), [records]({name}/{records.file.name})"
    at = ", ".join(records.commits)
    when = f", {records.date}" if records.date else ""
    return "\n\n".join([f"## {name}", *told, f"{source}: commit {at}{when}: {against}."])


def readme(results: Path) -> str:
    """The gallery."""
    head = (
        "# Results\n\n"
        "Every figure, what it shows, and of which commit its records are. "
        '"Current": nothing that is measured has changed since, but for '
        f"{'; '.join(f'{commit[:7]} ({why})' for commit, why in SAME_FIGURES.items())}. "
        "Tables, with what was reduced, are "
        "in the folders; [scripts/reproduce.sh](../scripts/reproduce.sh) makes all of it anew, and "
        "`python experiments/gallery.py` writes this page."
    )
    return "\n\n".join([head, *(section(results, name) for name in folders(results))]) + "\n"


def unsaid(results: Path) -> list[str]:
    """What the page should say of the records and does not."""
    text = (results / README).read_text(encoding="utf-8")
    parts = {part.partition("\n")[0]: part for part in re.split(r"^## ", text, flags=re.M)}
    missing = []
    for name in folders(results):
        records, part = measured(results / name), parts.get(name, "")
        wanted = [*records.commits, *faults(name, records)]
        wanted += [f"({name}/{stem}.png)" for stem in figures(results, name)]
        missing += [f"{name}: {words}" for words in wanted if words not in part]
    return missing


def main() -> int:
    """Writes the page."""
    results = ROOT / "results"
    write_text(results / README, readme(results))
    for name in folders(results):
        said = "; ".join(faults(name, measured(results / name)).values())
        print(f"{name}: {said or 'current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
