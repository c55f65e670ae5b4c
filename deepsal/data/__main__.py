"""Command line for data on disk: `python -m deepsal.data cards | fetch | check | sheet | export`."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepsal.data.download.fetch import fetch_dataset
from deepsal.data.formats.csv_folder import write_csv_folder
from deepsal.data.index import dataset_cards, load_dataset
from deepsal.data.inspect.check import check_dataset
from deepsal.data.inspect.contact_sheet import fixation_sheet, save_png, search_array_sheet
from deepsal.data.popout.popout import TARGET_CONTRASTS, popout_test_arrays


class Subcommand(NamedTuple):
    """A word of the door: its help, what it takes and what it does (the exit code)."""

    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def _print_cards(given: Namespace) -> int:
    return _print_line(str(dataset_cards()))


def _check(given: Namespace) -> int:
    report = check_dataset(load_dataset(given.name, given.data))
    return _print_line(str(report), int(bool(report.faults)))


def _fetch(given: Namespace) -> int:
    return _print_line(f"{given.name} is in {fetch_dataset(given.name, given.to, given.mirror)}")


def _export(given: Namespace) -> int:
    dataset = load_dataset(given.name, given.data)
    write_csv_folder(dataset, given.to)
    use = f"data=folder data.dataset.path={given.to} data.dataset.sigma={dataset.sigma:g}"
    return _print_line(f"{dataset.name} is in {given.to}; to use it: {use}")


def _sheet(given: Namespace) -> int:
    if given.name == "popout":
        save_png(search_array_sheet(popout_test_arrays(), len(TARGET_CONTRASTS)), given.to)
    else:
        save_png(fixation_sheet(load_dataset(given.name, given.data), given.images), given.to)
    return _print_line(f"{given.name} can be looked at in {given.to}")


def _print_line(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    return code


def _add_no_arguments(parser: ArgumentParser) -> None:
    pass


def _add_dataset_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="what `cards` lists, or a folder in the generic layout")
    given = Path(os.environ.get("DEEPSAL_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=given, help="the folder that holds it (DEEPSAL_DATA)"
    )


def _add_fetch_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="osie, nus_scene, mit1003 …")
    given = Path(os.environ.get("DEEPSAL_DATA", "data"))
    parser.add_argument("--to", type=Path, default=given, help="the data folder (DEEPSAL_DATA)")
    parser.add_argument("--mirror", help="an address that holds NAME/FILE (DEEPSAL_MIRROR)")


def _add_export_arguments(parser: ArgumentParser) -> None:
    _add_dataset_arguments(parser)
    parser.add_argument("--to", type=Path, required=True, help="the new folder")


def _add_sheet_arguments(parser: ArgumentParser) -> None:
    _add_dataset_arguments(parser)
    parser.add_argument("--to", type=Path, required=True, help="the new PNG file")
    parser.add_argument("--images", type=int, default=24, help="how many (24)")


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "cards": Subcommand("what is known of every data set", _add_no_arguments, _print_cards),
    "fetch": Subcommand("bring a data set here from its address", _add_fetch_arguments, _fetch),
    "check": Subcommand("whether a data set is whole and readable", _add_dataset_arguments, _check),
    "sheet": Subcommand(
        "draw images with their fixations; popout: all arrays", _add_sheet_arguments, _sheet
    ),
    "export": Subcommand("write a data set in the generic layout", _add_export_arguments, _export),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; an error is one line and exit code 1."""
    parser = ArgumentParser(prog="python -m deepsal.data", description="Data sets on disk.")
    words = parser.add_subparsers(required=True, metavar="|".join(SUBCOMMANDS))
    for word, command in SUBCOMMANDS.items():
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
