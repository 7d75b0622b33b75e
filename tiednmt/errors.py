"""One clear line for whoever runs a command, instead of a traceback."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType


class UserError(ValueError):
    """Bad input. The message names the file, line or option at fault and the way out."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that does not fit the model; a RuntimeError too, as torch's own is."""


def explain(error: BaseException) -> str | None:
    """The one line to print for ``error``, or None where it is a defect of ours."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            loaded = _checkpoint_in(cause, "load_checkpoint", "load_model_ensemble_and_task")
            told = str(cause)
            return told if loaded is None or told.startswith(loaded) else f"{loaded}: {told}"
        checkpoint = _checkpoint_in(cause, "load_checkpoint_to_cpu")
        if checkpoint and isinstance(cause, pickle.UnpicklingError):
            return (
                f"{checkpoint}: refused, since it is no checkpoint of tensors and plain settings "
                "(a pickle may run any code); use a checkpoint that fairseq wrote"
            )
        if checkpoint and not isinstance(cause, OSError | MemoryError):
            return (
                f"{checkpoint}: not a whole checkpoint, cut short or damaged; "
                "copy it again or use another one of its folder"
            )
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if _refused_by_fairseq(error):
        return str(error)
    if isinstance(error, ImportError) and "lease install" in str(error):
        return " ".join(str(error).split())  # fairseq's own words, on packages that it may use
    if isinstance(error, ZeroDivisionError) and _raised_in(error, "fairseq_cli/generate.py"):
        return (
            "no sentence was translated: fairseq leaves out what is no multiple of eight of them; "
            "add --required-batch-size-multiple 1"
        )
    return None


def shown(text: str) -> str:
    """``text`` with control characters written out, so that a terminal does not obey them."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it was raised from: fairseq wraps what went wrong inside a load."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _checkpoint_in(error: BaseException, *functions: str) -> str | None:
    """The checkpoint that one of fairseq's ``functions`` had in hand when ``error`` was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in functions:
            path = frame.f_locals.get("path") or frame.f_locals.get("filename")
            if path:
                return str(path)
    return None


def _refused_by_fairseq(error: BaseException) -> bool:
    """Whether fairseq itself refused to start from a checkpoint, with its own message."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == "load_checkpoint"


def _raised_in(error: BaseException, file: str) -> bool:
    """Whether a file of fairseq's raised it, and nothing that it calls."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_filename.endswith(file)


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's ``main``: bad input becomes ``error: …`` on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        # being terminated cleans up like being interrupted
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            sys.exit("interrupted; run the same command again to continue")
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            sys.exit(f"error: {shown(line)}")

    return wrapped


def explain_uncaught_errors() -> None:
    """Let fairseq's own commands, whose ``main`` is not ours, print the one line as well."""
    previous = sys.excepthook
    if getattr(previous, "explains", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = explain(error) if issubclass(kind, Exception) else None
        if line is None:
            previous(kind, error, trace)
        else:
            print(f"error: {shown(line)}", file=sys.stderr)
            if not (hasattr(sys, "ps1") or sys.flags.interactive):
                _end_at_once()

    hook.explains = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _end_at_once() -> None:
    """End the process with status 1, without waiting for its other threads.

    fairseq's loading threads run on after an error in training; the interpreter that shuts down
    under them now and then aborts with a message of C++ after our line.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
