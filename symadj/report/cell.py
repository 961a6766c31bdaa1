"""One cell of a table: a number with its spread, the failures, or a word; as text and as LaTeX."""

from __future__ import annotations

import math
from dataclasses import dataclass

from symadj.report.names import MISSING


@dataclass(frozen=True)
class Cell:
    """What a combination of row and column came to.

    Attributes:
        mean: over the runs that succeeded; None where none of them has the value.
        std: sample standard deviation (n - 1 below); None for fewer than two values.
        n: the number of values.
        quartiles: of the iterations of a single run, where asked for.
        failures: (what, how many) of the runs that failed.
        word: the value where it is no number.
        lower_is_better: None where no value is better than another.
        counts: whether the text says n.
    """

    mean: float | None = None
    std: float | None = None
    n: int = 0
    quartiles: tuple[float, float] | None = None
    failures: tuple[tuple[str, int], ...] = ()
    word: str = ""
    lower_is_better: bool | None = True
    counts: bool = True

    def __str__(self) -> str:
        if self.mean is None:
            return self.word or self._failed() or MISSING
        return f"{self._number().text()}{self._spread(latex=False)}{self._tail()}"

    def latex(self, *, bold: bool = False) -> str:
        """The cell for a LaTeX table: numbers in math mode, words as text yet to be escaped."""
        if self.mean is None:
            return escape(str(self)) if str(self) != MISSING else "--"
        number = self._number().latex() + self._spread(latex=True)
        number = rf"\mathbf{{{number}}}" if bold else number
        return f"${number}${escape(self._tail())}"

    def _number(self) -> Number:
        assert self.mean is not None
        return Number.of(self.mean, self.std)

    def _spread(self, latex: bool) -> str:
        if self.quartiles is None:
            return ""
        low, high = (Number.of(q, None) for q in self.quartiles)
        if latex:
            return rf"\ [{low.latex()}, {high.latex()}]"
        return f" [{low.text()}, {high.text()}]"

    def _failed(self) -> str:
        if len(self.failures) == 1 and self.failures[0][1] == 1:
            return self.failures[0][0]
        return ", ".join(f"{number} {what}" for what, number in self.failures)

    def _tail(self) -> str:
        parts = [f"n={self.n}"] if self.counts or self.failures else []
        parts += [f"{number} {what}" for what, number in self.failures]
        return f" ({', '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class Number:
    """A number rounded for reading.

    Attributes:
        mean: its digits.
        std: those of its spread; empty where there is none.
        exponent: the power of ten that both are to be multiplied by; 0: none.
    """

    mean: str
    std: str
    exponent: int

    @staticmethod
    def of(mean: float, std: float | None) -> Number:
        """Rounds: two significant digits of the spread, else four of the number."""
        exponent = _exponent(mean, std)
        # Dividing by a power of ten rounds less than multiplying by its inverse.
        scale = 10.0**exponent
        mean, std = mean / scale, None if std is None else std / scale
        digits = _digits(mean, std)
        return Number(_show(mean, digits), "" if std is None else _show(std, digits), exponent)

    def text(self) -> str:
        """`1.23 ± 0.04`, `(1.20 ± 0.31)e-15`."""
        both = f"{self.mean} ± {self.std}" if self.std else self.mean
        if not self.exponent:
            return both
        return f"({both})e{self.exponent}" if self.std else f"{both}e{self.exponent}"

    def latex(self) -> str:
        """The same for math mode."""
        both = rf"{self.mean} \pm {self.std}" if self.std else self.mean
        if not self.exponent:
            return both
        return rf"{f'({both})' if self.std else both} \times 10^{{{self.exponent}}}"


def _exponent(mean: float, std: float | None) -> int:
    largest = max(abs(mean), std or 0.0)
    if largest == 0 or 1e-3 <= largest < 1e6:
        return 0
    # Halved twice, 10^exponent stays a normal number down to the smallest ones.
    return max(math.floor(math.log10(largest)), -300)


def _digits(mean: float, std: float | None) -> int:
    """Decimals after the point."""
    if std:
        magnitude = math.floor(math.log10(abs(mean))) if mean else 0
        return max(0, min(1 - math.floor(math.log10(std)), 5 - magnitude))
    if mean.is_integer():
        return 0
    return max(0, 3 - math.floor(math.log10(abs(mean))))


def _show(value: float, digits: int) -> str:
    return "0" if value == 0 else f"{value:.{digits}f}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "±": r"$\pm$",
    "\n": " ",
    "\r": " ",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escape(text: str) -> str:
    """The text as LaTeX prints it."""
    return "".join(_LATEX.get(sign, sign) for sign in text)
