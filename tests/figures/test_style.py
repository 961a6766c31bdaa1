from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from symadj.figures.style import METHOD_STYLE, base_of, dress, new_figure, style_of, styles_of
from symadj.grad import GRADIENTS

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as such a reader sees it.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as seen by this vision."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x = to_xyz @ np.clip(vision @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart_for_every_reader(vision: str) -> None:
    seen = {name: lab(style.color, VISION[vision]) for name, style in METHOD_STYLE.items()}
    for a, b in combinations(seen, 2):
        # A difference of 2 is just visible between neighbouring patches.
        assert np.linalg.norm(seen[a] - seen[b]) > 15, (a, b)


@pytest.mark.parametrize("feature", ["color", "marker", "hatch"])
def test_methods_differ_in_each_feature(feature: str) -> None:
    values = [getattr(style, feature) for style in METHOD_STYLE.values()]
    assert len(set(values)) == len(values)


def test_every_gradient_method_of_the_library_has_a_style() -> None:
    assert set(GRADIENTS) <= set(METHOD_STYLE)


def test_names_are_found_in_any_spelling_and_unknown_ones_keep_theirs() -> None:
    assert style_of("Torchdiffeq_Adjoint") is METHOD_STYLE["torchdiffeq adjoint"]
    assert style_of("mine") == style_of("mine")
    assert style_of("mine") not in METHOD_STYLE.values()


def test_unknown_names_in_one_figure_get_distinct_styles_and_known_ones_their_own() -> None:
    names = ["symplectic", *(f"solver{i}" for i in range(9))]
    styles = styles_of(names)
    assert styles["symplectic"] is METHOD_STYLE["symplectic"]
    assert len({style.color for style in styles.values()}) == len(names)


def test_more_names_than_styles_still_have_one_each() -> None:
    names = [f"method{i}" for i in range(40)]
    assert set(styles_of(names)) == set(names)


VARIANTS = {
    "symplectic": ["symplectic_stages", "symplectic revolve", "symplectic_compiled"],
    "adjoint": ["adjoint_full"],
    "torchdiffeq adjoint": ["torchdiffeq adjoint, autograd trace"],
}


def test_variants_have_their_methods_colour_lighter_and_its_marker() -> None:
    styles = styles_of([*VARIANTS, *(name for own in VARIANTS.values() for name in own), "mine"])
    for base, names in VARIANTS.items():
        assert styles[base] is METHOD_STYLE[base]
        for name in names:
            assert base_of(name) == base
            assert styles[name].marker == styles[base].marker
            light, a, b = lab(styles[name].color, VISION["normal"])
            dark, *_ = lab(styles[base].color, VISION["normal"])
            assert light > dark + 5
            # The same hue: the colour's direction from grey.
            _, a0, b0 = lab(styles[base].color, VISION["normal"])
            assert np.dot((a, b), (a0, b0)) > 0.9 * np.hypot(a, b) * np.hypot(a0, b0)
    assert styles["mine"] not in METHOD_STYLE.values()
    looks = {(style.color, style.dash, style.hollow) for style in styles.values()}
    assert len(looks) == len(styles)


def test_variants_in_one_figure_are_told_apart_and_known_ones_look_the_same_everywhere() -> None:
    names = ["symplectic_6_at_once", "symplectic_stages", "symplectic_revolve", "symplectic_x"]
    styles = styles_of(names)
    assert len({(s.color, s.dash, s.hollow) for s in styles.values()}) == len(names)
    for name in ("symplectic_stages", "symplectic_revolve"):
        assert styles[name] == style_of(name)
    assert len(styles_of([f"aca, solver{i}" for i in range(20)])) == 20


def test_only_a_word_of_its_own_makes_a_variant() -> None:
    assert base_of("Torchdiffeq_Adjoint") == "torchdiffeq adjoint"
    assert base_of("symplectical") == ""
    assert base_of("auto_64MiB") == ""


@pytest.mark.parametrize(
    ("axis", "limits", "labels"),
    [
        ("x", (9.0, 11_000.0), ["10", "100", "1,000", "10,000"]),
        ("x", (0.4, 9.0), ["0.5", "1", "2", "5"]),
        ("x", (9.0, 600.0), ["10", "100"]),
        ("y", (9.0, 600.0), ["10", "20", "50", "100", "200", "500"]),
        ("y", (1.5e-5, 1.5e-3), ["$10^{-4}$", "$10^{-3}$"]),
        ("y", (1.5e-5, 6e-5), [r"$2 \times 10^{-5}$", r"$5 \times 10^{-5}$"]),
    ],
)
def test_logarithmic_axes_have_ticks_that_can_be_read(
    axis: str, limits: tuple[float, float], labels: list[str]
) -> None:
    figure = new_figure(3.4, 2.0)
    ax = figure.subplots()
    ax.set(**{f"{axis}scale": "log", f"{axis}lim": limits})
    dress(ax)
    ticks = (ax.xaxis if axis == "x" else ax.yaxis).get_major_ticks()
    figure.draw_without_rendering()
    low, high = limits
    seen = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert seen == labels


def test_axes_of_another_scale_keep_their_ticks() -> None:
    ax = new_figure(3.4, 2.0).subplots()
    ax.set_xscale("log", base=2)
    ax.set_yscale("symlog", linthresh=0.1)
    before = ax.xaxis.get_major_locator(), ax.yaxis.get_major_locator()
    dress(ax)
    assert (ax.xaxis.get_major_locator(), ax.yaxis.get_major_locator()) == before
