from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symadj.errors import InputError
from symadj.units import UNITS, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("64 mib", 64 * 1024**2),
        (" 1.5KiB ", 1536),
        (".5 GB", 500_000_000),
        ("1e3KB", 1_000_000),
        ("7B", 7),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
        ("0.9B", 0),
    ],
)
def test_sizes_are_read_with_binary_and_decimal_units(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1,5MiB", "64MiB each", "nan", "inf"])
def test_what_is_no_size_is_refused_with_the_units_that_are(text: str) -> None:
    with pytest.raises(InputError, match=r"no size in bytes.*MiB"):
        parse_bytes(text)


def test_an_unknown_unit_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown unit 'Mi'.*mean 'MiB'\?.*Allowed: B, KB"):
        parse_bytes("64Mi")


@pytest.mark.parametrize("size", [-1, True, 1.5, None])
def test_other_values_are_refused(size: object) -> None:
    with pytest.raises(InputError):
        parse_bytes(size)  # pyright: ignore[reportArgumentType]


def test_an_overflowing_number_is_refused() -> None:
    with pytest.raises(InputError, match="too large"):
        parse_bytes("1e999")


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_every_whole_number_of_units_is_read_exactly(number: int, unit: str) -> None:
    assert parse_bytes(f"{number}{unit}") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1 MiB"),
        (64 * 1024**2, "64 MiB"),
        (123_456_789, "118 MiB"),
        (1024**4, "1024 GiB"),
        (-5000, "-4.88 KiB"),
    ],
)
def test_sizes_are_written_in_three_digits(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(0, 1024**4))
def test_what_is_written_reads_back_within_its_digits(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=6e-3)
