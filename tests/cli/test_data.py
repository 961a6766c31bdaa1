"""`symadj-data`: what it prints, what it leaves, and its exit statuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from symadj.cli import catalog
from symadj.cli import data as command
from symadj.cli.data import main
from symadj.data.bsds_images import BSDSImages
from tests.data.http_server import Site, serve
from tests.data.maf.small_archive import contents, pack, raw_data

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(contents(raw_data()))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def site(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serve() as running:
        running.files["/data.tar.gz"] = packed
        monkeypatch.setenv("SYMADJ_MAF_URL", f"{running.address}/data.tar.gz")
        yield running


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def rows(out: str) -> dict[str, str]:
    """The lines of `list` by their first word, several blanks as one."""
    lines = [" ".join(line.split()) for line in out.splitlines()[3:]]
    return {line.split()[0]: line for line in lines}


def test_fetch_prepare_and_list_go_hand_in_hand(
    root: Path, site: Site, packed: bytes, capsys: Output
) -> None:
    assert main(["list"]) == 0
    before = rows(capsys.readouterr().out)
    assert before["MAF"] == "MAF archive not fetched (817 MB) symadj-data fetch maf"
    assert before["power"] == "power not fetched symadj-data fetch maf"
    assert before["bsds300_images"].endswith("not built symadj-data build bsds300 IMAGES_DIR")
    assert before["toy2d"] == "toy2d ready"

    assert main(["fetch", "maf", "--md5", md5(packed)]) == 0
    out = capsys.readouterr().out
    assert f"fetching {site.address}/data.tar.gz into {root}" in out
    assert main(["list"]) == 0
    assert rows(capsys.readouterr().out)["gas"] == "gas archive fetched symadj-data prepare gas"

    for name in ("power", "gas", "hepmass", "miniboone", "bsds300"):
        assert main(["prepare", name]) == 0
        assert capsys.readouterr().out == f"prepared: {root}/prepared/{name}-v1\n"
    assert main(["list"]) == 0
    after = rows(capsys.readouterr().out)
    assert after["miniboone"].startswith("miniboone prepared ")
    assert after["miniboone"].endswith(" KiB")
    assert after["MAF"].startswith("MAF archive fetched ")


def test_fetching_twice_says_that_it_is_there(
    root: Path, site: Site, packed: bytes, capsys: Output
) -> None:
    main(["fetch", "maf", "--md5", md5(packed)])
    capsys.readouterr()
    assert main(["fetch", "maf"]) == 0
    assert capsys.readouterr().out == f"the MAF archive is in {root}/maf already\n"
    assert len(site.asked) == 1


def test_a_cut_download_fails_is_listed_and_goes_on(
    root: Path, site: Site, packed: bytes, capsys: Output
) -> None:
    site.cuts = [5000, 0]
    assert main(["fetch", "maf", f"md5={md5(packed)}"]) == 1
    assert "Run the same command again" in capsys.readouterr().err
    main(["list"])
    assert rows(capsys.readouterr().out)["MAF"].startswith("MAF archive cut off 4.88 KiB symadj")
    assert main(["fetch", "maf", f"md5={md5(packed)}"]) == 0
    assert site.asked == ["", "bytes=5000-", "bytes=5000-"]


def test_a_wrong_checksum_is_a_failure(root: Path, site: Site, capsys: Output) -> None:
    assert main(["fetch", "maf"]) == 1
    assert "is not the archive that was asked for" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--data-dir={}", "data_dir={}"])
def test_another_directory_can_be_given_in_both_ways(
    root: Path, site: Site, packed: bytes, tmp_path: Path, option: str
) -> None:
    other = option.format(tmp_path / "other")
    assert main(["fetch", "maf", f"--md5={md5(packed)}", other]) == 0
    assert main(["prepare", "power", other]) == 0
    assert (tmp_path / "other" / "prepared" / "power-v1").is_dir()
    assert not root.exists()


def test_patches_are_built_from_photographs(root: Path, tmp_path: Path, capsys: Output) -> None:
    levels = np.random.default_rng(0).integers(0, 256, size=(4, 20, 20)).astype(np.uint8)
    for i, name in enumerate(("train/a.png", "train/b.png", "test/c.png", "test/d.png")):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels[i]).save(path)
    given = ["build", "bsds300", str(tmp_path / "photographs"), "--seed=3"]
    assert main([*given, "--train", "30", "val=4", "test=5"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("bsds300_images-v1; train on it by data=bsds300_images\n")
    data = BSDSImages()
    assert [len(split) for split in (data.train, data.val, data.test)] == [30, 4, 5]
    assert data.meta.details["seed"] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["prepare", "powr"], "no data set 'powr'. Did you mean 'power'? Allowed: "),
        (["prepare", "power"], "Fetch it (817 MB, once) by: symadj-data fetch maf"),
        (["prepare", "bsds300_images"], "by: symadj-data build bsds300 IMAGES_DIR"),
        (["build", "bsds300", "nowhere"], "there is no folder nowhere"),
        (["fetch", "maf", "--url", "no/such/file"], "neither an http(s) address nor a file"),
    ],
)
def test_bad_input_has_status_2_and_one_line(
    root: Path, given: list[str], message: str, capsys: Output
) -> None:
    assert main(given) == 2
    err = capsys.readouterr().err
    assert err.startswith("symadj-data: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "given", [[], ["fetch"], ["fetch", "mnist"], ["lst"], ["list", "--nothing"]]
)
def test_bad_usage_has_status_2(given: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as stop:
        main(given)
    assert stop.value.code == 2
    assert "usage: symadj-data" in capsys.readouterr().err


def test_a_set_without_preparation_says_so(root: Path, capsys: Output) -> None:
    assert main(["prepare", "toy2d"]) == 0
    assert capsys.readouterr().out == "toy2d needs no preparation\n"


def test_an_interruption_has_status_130(root: Path, capsys: Output, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.catalog, "table", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err.startswith("symadj-data: interrupted")


def test_every_set_of_the_configurations_is_listed_and_none_is_loaded(
    root: Path, monkeypatch
) -> None:
    for made_by in catalog.data_sets().values():
        if isinstance(made_by, type):
            monkeypatch.setattr(made_by, "__init__", lambda *_: pytest.fail("a set was loaded"))
    listed = [name for name, _ in catalog.states(root)]
    assert listed[1:] == list(catalog.data_sets())
    assert {"power", "gas", "hepmass", "miniboone", "bsds300", "digits"} <= set(listed)
