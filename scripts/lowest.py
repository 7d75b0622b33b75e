"""Print the lowest version of every range in pyproject.toml, as constraints for pip.

python -m scripts.lowest > lowest.txt; CONSTRAINTS=lowest.txt scripts/setup.sh dev
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

from tiednmt.commandline import command_parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
EXTRAS = ("analysis", "recipes", "zstd", "dev")  # what set-up installs


def lowest(pyproject: Path = PYPROJECT) -> list[str]:
    """``name==version``, with the marker of the range."""
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = settings["project"]
    extras = (project["optional-dependencies"][name] for name in EXTRAS)
    lines = []
    for text in chain(settings["build-system"]["requires"], project["dependencies"], *extras):
        requirement = Requirement(text)
        bounds = [each.version for each in requirement.specifier if each.operator == ">="]
        if bounds:
            marker = f"; {requirement.marker}" if requirement.marker else ""
            lines.append(f"{requirement.name}=={bounds[0]}{marker}")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    command_parser("python -m scripts.lowest", __doc__).parse_args(argv)
    print("\n".join(lowest()))


if __name__ == "__main__":
    main()
