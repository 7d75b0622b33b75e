"""One clear line for whoever runs a command, instead of a traceback."""

from __future__ import annotations

import functools
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType


class UserError(ValueError):
    """Bad input. The message names the file, line or option at fault and the way out."""


def explain(error: BaseException) -> str | None:
    """The one line to print for ``error``, or None where it is a defect of ours."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
        checkpoint = _checkpoint_being_read(cause)
        if checkpoint and isinstance(cause, pickle.UnpicklingError):
            return (
                f"{checkpoint}: refused, since it is no checkpoint of tensors and plain settings "
                "(a pickle may run any code); use a checkpoint that fairseq wrote"
            )
        if checkpoint and isinstance(cause, EOFError | RuntimeError):
            return (
                f"{checkpoint}: not a whole checkpoint, cut short or damaged; "
                "copy it again or use another one of its folder"
            )
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it was raised from: fairseq wraps what went wrong inside a load."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _checkpoint_being_read(error: BaseException) -> str | None:
    """The file that fairseq was reading when ``error`` was raised, if it was."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "load_checkpoint_to_cpu":
            return str(frame.f_locals["path"])
    return None


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's ``main``: bad input becomes ``error: …`` on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        # being terminated cleans up like being interrupted
        signal.signal(signal.SIGTERM, signal.default_int_handler)
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


def explain_uncaught_errors() -> None:
    """Let fairseq's own commands, whose ``main`` is not ours, print the one line as well."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = explain(error) if issubclass(kind, Exception) else None
        if line is None:
            previous(kind, error, trace)
        else:
            print(f"error: {line}", file=sys.stderr)

    sys.excepthook = hook
