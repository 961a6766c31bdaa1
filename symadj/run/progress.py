"""What a training shows while it runs, on standard error."""

from __future__ import annotations

import json
import math
import sys
from typing import TextIO

from tqdm import tqdm

from symadj.records.history import Row


class Progress:
    """A bar on a terminal; elsewhere one JSON line per validation, for programs to read.

    The bar's "evals 24+30" are the field's evaluations forward and its pull-backs backward.

    Args:
        steps: iterations of the whole run.
        done: iterations already done, in a resumed run.
        monitor: name of the validation metric.
        stream: where to write; None: standard error.
    """

    def __init__(self, steps: int, done: int, monitor: str, stream: TextIO | None = None) -> None:
        self.monitor = monitor
        self.stream = sys.stderr if stream is None else stream
        self.bar: tqdm | None = None
        if self.stream.isatty():
            self.bar = tqdm(
                total=steps,
                initial=done,
                file=self.stream,
                dynamic_ncols=True,
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            )
        self._validated = ""

    def iteration(self, row: Row) -> None:
        """Shows one iteration."""
        if row.validation is not None:
            self._validated = f"{row.validation:.4g}"
        if self.bar is not None:
            stats = row.stats
            text = f"loss {row.loss:.4g}, evals {stats.forward}+{stats.vjps}"
            text += f", rejected {stats.rejected}"
            if not math.isnan(row.seconds):
                text += f", {row.seconds:.3g} s/it"
            if self._validated:
                text += f", val {self.monitor} {self._validated}"
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif row.validation is not None:
            self._line(row)

    def _line(self, row: Row) -> None:
        stats = row.stats
        values = {
            "iteration": row.iteration,
            "wall": round(row.wall, 3),
            "loss": row.loss,
            f"val_{self.monitor}": row.validation,
            "seconds": None if math.isnan(row.seconds) else round(row.seconds, 6),
            "forward": stats.forward,
            "recomputed": stats.recomputed,
            "with_graph": stats.with_graph,
            "vjps": stats.vjps,
            "accepted": stats.accepted,
            "rejected": stats.rejected,
        }
        print(json.dumps(values), file=self.stream, flush=True)

    def close(self) -> None:
        """Leaves the last state of the bar on the terminal."""
        if self.bar is not None:
            self.bar.close()
