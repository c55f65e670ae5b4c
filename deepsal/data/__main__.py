"""The door to data on disk: `python -m deepsal.data cards | fetch | check | sheet | export`."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepsal.data.download.fetch import fetch
from deepsal.data.formats.export import export
from deepsal.data.index import cards, load
from deepsal.data.inspect.check import check
from deepsal.data.inspect.contact_sheet import arrays_sheet, save, sheet
from deepsal.data.popout.popout import CONTRASTS, battery


class Command(NamedTuple):
    """A word of the door: its help, what it takes and what it does (the exit code)."""

    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def _cards(given: Namespace) -> int:
    return _said(str(cards()))


def _check(given: Namespace) -> int:
    report = check(load(given.name, given.data))
    return _said(str(report), int(bool(report.faults)))


def _fetch(given: Namespace) -> int:
    return _said(f"{given.name} is in {fetch(given.name, given.to, given.mirror)}")


def _export(given: Namespace) -> int:
    dataset = load(given.name, given.data)
    export(dataset, given.to)
    use = f"data=folder data.dataset.path={given.to} data.dataset.sigma={dataset.sigma:g}"
    return _said(f"{dataset.name} is in {given.to}; to use it: {use}")


def _sheet(given: Namespace) -> int:
    if given.name == "popout":
        save(arrays_sheet(battery(), len(CONTRASTS)), given.to)
    else:
        save(sheet(load(given.name, given.data), given.images), given.to)
    return _said(f"{given.name} can be looked at in {given.to}")


def _said(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    return code


def _nothing(parser: ArgumentParser) -> None:
    pass


def _which(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="what `cards` lists, or a folder in the generic layout")
    given = Path(os.environ.get("DEEPSAL_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=given, help="the folder that holds it (DEEPSAL_DATA)"
    )


def _which_from_where(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="osie, nus_scene, mit1003 …")
    given = Path(os.environ.get("DEEPSAL_DATA", "data"))
    parser.add_argument("--to", type=Path, default=given, help="the data folder (DEEPSAL_DATA)")
    parser.add_argument("--mirror", help="an address that holds NAME/FILE (DEEPSAL_MIRROR)")


def _which_and_where(parser: ArgumentParser) -> None:
    _which(parser)
    parser.add_argument("--to", type=Path, required=True, help="the new folder")


def _which_and_how_many(parser: ArgumentParser) -> None:
    _which(parser)
    parser.add_argument("--to", type=Path, required=True, help="the new PNG file")
    parser.add_argument("--images", type=int, default=24, help="how many (24)")


COMMANDS: Mapping[str, Command] = {
    "cards": Command("what is known of every data set", _nothing, _cards),
    "fetch": Command("bring a data set here from its address", _which_from_where, _fetch),
    "check": Command("whether a data set is whole and readable", _which, _check),
    "sheet": Command(
        "draw images with their fixations; popout: all arrays", _which_and_how_many, _sheet
    ),
    "export": Command("write a data set in the generic layout", _which_and_where, _export),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; an error is one line and exit code 1."""
    parser = ArgumentParser(prog="python -m deepsal.data", description="Data sets on disk.")
    words = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    for word, command in COMMANDS.items():
        inner = words.add_parser(word, help=command.help)
        inner.set_defaults(run=command.run)
        command.arguments(inner)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
