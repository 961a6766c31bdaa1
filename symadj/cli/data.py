"""`symadj-data`: fetches, prepares, builds and lists data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import symadj
from symadj.cli import catalog
from symadj.cli.ladder import OK, run_command
from symadj.data import bsds_images
from symadj.data.directory import data_dir
from symadj.data.maf import archive
from symadj.terminal import say

NAME = "symadj-data"

PURPOSE = """\
Fetches, prepares and lists the data sets that symadj-train takes by data=NAME. Most need nothing;
the five tabular sets of the literature come from one archive, fetched once."""

EPILOG = """\
Data are kept in --data-dir DIR, else in the directory that SYMADJ_DATA names, else in
~/.cache/symadj; for a training elsewhere: symadj-train data=power data.data_dir=DIR.
Options may be given as NAME=VALUE, too (data_dir=DIR).

Exit status: 0 done, 1 failed (connection, disk, damaged files), 2 bad input, 130 interrupted."""

OPTIONS = ("data_dir", "url", "md5", "seed", "train", "val", "test")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args([_dashed(word) for word in given])
    return run_command(NAME, lambda: _run(arguments), argv, "the same command goes on with it")


def _run(arguments: argparse.Namespace) -> int:
    arguments.run(arguments)
    return OK


def _dashed(word: str) -> str:
    """`data_dir=DIR`, as the other commands have it, as the `--data-dir=DIR` that it means."""
    name, equals, value = word.partition("=")
    return f"--{name.replace('_', '-')}={value}" if equals and name in OPTIONS else word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description=PURPOSE,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"symadj {symadj.__version__}")
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--data-dir", metavar="DIR", help="where data are kept")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common])
        made.set_defaults(run=run)
        return made

    fetch = command("fetch", _fetch, "download an archive; a cut download goes on where it ended")
    fetch.add_argument("what", choices=["maf"], help="maf: POWER, GAS, HEPMASS, MINIBOONE, BSDS300")
    fetch.add_argument("--url", help=f"another address, or a file (else {archive.VARIABLE})")
    fetch.add_argument("--md5", help="the checksum of another archive")

    command("list", _list, "show which data sets are there, their sizes, and how to get the others")

    prepare = command("prepare", _prepare, "process a set once, for all trainings")
    prepare.add_argument("name", metavar="NAME", help="power, gas, hepmass, miniboone, bsds300")

    build = command("build", _build, "draw the patches of BSDS300 from its photographs")
    build.add_argument("what", choices=["bsds300"], help="used by data=bsds300_images")
    build.add_argument("images", metavar="IMAGES_DIR", help="the folder with train/ and test/")
    build.add_argument("--seed", type=int, default=0, help="of positions and noise (default: 0)")
    for split, count in zip(("train", "val", "test"), bsds_images.COUNTS, strict=True):
        build.add_argument(f"--{split}", type=int, default=count, metavar="N",
                           help=f"patches (default: {count:,})")  # fmt: skip
    return parser


def _fetch(arguments: argparse.Namespace) -> None:
    root = data_dir(arguments.data_dir)
    if archive.is_fetched(root):
        say(f"the MAF archive is in {archive.directory(root)} already")
        return
    say(f"fetching {archive.address(arguments.url)} into {root}")
    say(f"done: {archive.fetch(root, arguments.url, arguments.md5)}")


def _list(arguments: argparse.Namespace) -> None:
    say(catalog.table(data_dir(arguments.data_dir)))


def _prepare(arguments: argparse.Namespace) -> None:
    path = catalog.prepare(arguments.name, data_dir(arguments.data_dir))
    say(f"{arguments.name} needs no preparation" if path is None else f"prepared: {path}")


def _build(arguments: argparse.Namespace) -> None:
    counts = (arguments.train, arguments.val, arguments.test)
    path = bsds_images.build(Path(arguments.images), arguments.data_dir, arguments.seed, counts)
    say(f"built: {path}; train on it by data={bsds_images.KEY}")


if __name__ == "__main__":
    sys.exit(main())
