"""One clear line for whoever runs a command, instead of a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input. The message names the file, line or option at fault and the way out."""


def explain(error: BaseException) -> str | None:
    """The one line to print for ``error``, or None where it is a defect of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's ``main``: bad input becomes ``error: …`` on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            sys.exit("interrupted; run the same command again to go on")
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            sys.exit(f"error: {line}")

    return wrapped
