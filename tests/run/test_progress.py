from __future__ import annotations

import io
import json
import math

from symadj.ode.stats import SolveStats
from symadj.records.history import Row
from symadj.run.progress import Progress

STATS = SolveStats(accepted=4, rejected=1, forward=26, recomputed=20, with_graph=24, vjps=22)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rows() -> list[Row]:
    return [
        Row(1, 0.5, 3.25, 0.25, STATS, 1e-3),
        Row(2, 1.0, 3.125, math.nan, STATS, 1e-3, validation=2.5, memory_bytes=10),
    ]


def shown(stream: io.StringIO) -> str:
    progress = Progress(2, 0, "nll", stream)
    for row in rows():
        progress.iteration(row)
    progress.close()
    return stream.getvalue()


def test_a_terminal_sees_a_bar_with_what_an_iteration_cost() -> None:
    last = shown(Terminal()).split("\r")[-1]
    assert "2/2" in last
    assert "loss 3.125, evals 26+22, rejected 1" in last
    assert "val nll 2.5" in last


def test_a_program_reads_a_json_line_per_validation_and_nothing_else() -> None:
    [line] = shown(io.StringIO()).splitlines()
    values = json.loads(line)
    assert (values["iteration"], values["loss"], values["val_nll"]) == (2, 3.125, 2.5)
    assert values["seconds"] is None  # a metered iteration is not timed
