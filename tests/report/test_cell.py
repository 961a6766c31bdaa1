from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symadj.report.cell import Cell, Number, escape

ordinary = st.floats(min_value=-1e5, max_value=1e5, allow_subnormal=False)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(1.2345, 0.0412, 2, failures=(("OOM", 1),)), "1.234 ± 0.041 (n=2, 1 OOM)"),
        (Cell(10.493, 0.1132, 3), "10.49 ± 0.11 (n=3)"),
        (Cell(4436.0, 123.4, 3), "4436 ± 123 (n=3)"),
        (Cell(0.84, None, 1), "0.8400 (n=1)"),
        (Cell(62.0, None, 1), "62 (n=1)"),
        (Cell(62.0, 0.0, 3), "62 ± 0 (n=3)"),
        (Cell(0.0, 0.0, 2), "0 ± 0 (n=2)"),
        (Cell(-10.53, 0.25, 3), "-10.53 ± 0.25 (n=3)"),
        (Cell(1.23e-15, 3.1e-16, 3), "(1.23 ± 0.31)e-15 (n=3)"),
        (Cell(2.5e9, None, 1), "2.500e9 (n=1)"),
        (Cell(0.5, None, 1, counts=False), "0.5000"),
        (Cell(0.5, None, 1, quartiles=(0.4, 0.7), counts=False), "0.5000 [0.4000, 0.7000]"),
        (Cell(failures=(("OOM", 1),)), "OOM"),
        (Cell(failures=(("OOM", 3),)), "3 OOM"),
        (Cell(failures=(("OOM", 2), ("step limit", 1))), "2 OOM, 1 step limit"),
        (Cell(), "–"),
        (Cell(word="dopri5"), "dopri5"),
    ],
)
def test_a_cell_reads_as_in_a_paper(cell: Cell, text: str) -> None:
    assert str(cell) == text


def test_in_latex_numbers_stand_in_math_and_words_are_escaped() -> None:
    assert Cell(-10.53, 0.25, 3).latex() == r"$-10.53 \pm 0.25$ (n=3)"
    assert Cell(-10.53, 0.25, 3).latex(bold=True) == r"$\mathbf{-10.53 \pm 0.25}$ (n=3)"
    assert Cell(1.2e-15, 3e-16, 2).latex() == r"$(1.20 \pm 0.30) \times 10^{-15}$ (n=2)"
    assert Cell(word="a_b").latex() == r"a\_b"
    assert Cell().latex() == "--"


def test_every_letter_that_latex_reads_as_a_command_is_escaped() -> None:
    assert escape(r"a_b & 50% #1 $x$ {y} ~ ^ \z") == (
        r"a\_b \& 50\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )


@given(mean=st.floats(min_value=-1e308, max_value=1e308))
def test_a_number_alone_is_right_to_four_digits(mean: float) -> None:
    read = float(Number.of(mean, None).text())
    # Below the smallest normal numbers a float has fewer digits of its own.
    assert math.isclose(read, mean, rel_tol=5.1e-4, abs_tol=1e-305)


@given(mean=ordinary, std=st.floats(min_value=1e-4, max_value=1e4))
def test_a_mean_is_rounded_well_below_its_spread(mean: float, std: float) -> None:
    number = Number.of(mean, std)
    scale = 10.0**number.exponent
    error = abs(float(number.mean) * scale - mean)
    # Half a unit of the spread's second digit, or of the mean's sixth.
    assert error <= max(0.051 * std, 0.51e-5 * abs(mean))
    assert float(number.std) * scale == pytest.approx(std, rel=0.06, abs=1.01e-5 * abs(mean))
