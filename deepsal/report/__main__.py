"""python -m deepsal.report COMMAND: what can be made of run folders."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deepsal.report import compare


def _table(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Several runs as one table, with intervals and paired tests."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a tested run's folder")
    parser.add_argument("--to", type=Path, metavar="FILE", help=".md, .csv or .tex")

    def make(options: argparse.Namespace) -> None:
        found = compare.compare(options.runs)
        if options.to:
            compare.save(found, options.to)
        else:
            sys.stdout.write(compare.markdown(found))

    return make


COMMANDS = {
    "table": _table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a wrong folder or file is one line, not a traceback."""
    parser = argparse.ArgumentParser(prog="python -m deepsal.report")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        inner = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        inner.set_defaults(make=command(inner))
    options = parser.parse_args(arguments)
    try:
        options.make(options)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
