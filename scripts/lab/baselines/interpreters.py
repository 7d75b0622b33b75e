"""Packages that need an environment of their own."""

from __future__ import annotations

import subprocess

from tiednmt.errors import UserError


def version_in(python: str, package: str, hint: str) -> str:
    """The version of ``package`` that the interpreter ``python`` has.

    Args:
        python: a command or a path.
        package: its name, of the distribution and of the module.
        hint: what to do where it is missing.

    Raises:
        UserError: it is missing.
    """
    code = f"from importlib.metadata import version; import {package}; print(version('{package}'))"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, encoding="utf-8", check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"--against {package}: {python} cannot import {package}; {hint}") from error
    return done.stdout.split()[-1]
