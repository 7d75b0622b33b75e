"""One clear line for whoever runs a command, instead of a traceback."""

from __future__ import annotations

import functools
import io
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from types import TracebackType
from typing import Any

from tiednmt.fairseq_errors import chain, checkpoint_in, line_for, line_for_checkpoint


class UserError(ValueError):
    """Bad input. The message names the file, line or option at fault and the way out."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that does not fit the model; a RuntimeError too, as torch's own is."""


def explain(error: BaseException) -> str | None:
    """The one line to print for ``error``; None if it is a defect of ours."""
    for cause in chain(error):
        if isinstance(cause, UserError):
            loaded = checkpoint_in(cause, "load_checkpoint", "load_model_ensemble_and_task")
            text = str(cause)
            return text if loaded is None or text.startswith(loaded) else f"{loaded}: {text}"
        if (line := line_for_checkpoint(cause)) is not None:
            return line
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return f"{error.filename}: {what}" if error.filename else what
    return line_for(error)


def shown(text: str) -> str:
    """``text`` with control characters written out, so that a terminal does not obey them."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def one_line_errors(
    main: Callable[..., None], interrupted: str = "interrupted"
) -> Callable[..., None]:
    """Wrap a command's ``main``: bad input becomes ``error: …`` on stderr and exit status 1.

    SIGINT and SIGTERM become ``interrupted`` and the status of a command that SIGINT has ended. A
    reader of stdout that has seen enough ends the command without a word, with the status that
    SIGPIPE has.
    """

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            with _terminated_as_interrupted():
                _print_all(main, *args, **kwargs)
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None and _is_stdout_lost():
                drop_stdout()
                if isinstance(error, BrokenPipeError):
                    sys.exit(_OF_SIGPIPE)
                sys.exit(f"error: stdout: cannot be written: {error.strerror}")
            line = explain(error)
            if line is None:
                raise
            sys.exit(f"error: {shown(line)}")

    return wrapped


_OF_SIGPIPE = 128 + 13


def _print_all(main: Callable[..., None], *args: object, **kwargs: object) -> None:
    """Call ``main``, and see that stdout has taken what it printed."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack some characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main(*args, **kwargs)
    except SystemExit as end:
        if end.code:  # with a message, which is to be seen
            raise
        _flush_stdout()
        raise
    _flush_stdout()


def _flush_stdout() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _is_stdout_lost() -> bool:
    """Whether stdout does not take what was printed, or nobody reads it any more."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
        ends = select.poll()
        ends.register(sys.stdout.fileno(), 0)
        return any(state & select.POLLERR for _, state in ends.poll(0))
    except io.UnsupportedOperation:  # no file, but what a program has put in its place
        return False
    except OSError:
        return True


def drop_stdout() -> None:
    """Let what stdout still holds go nowhere when Python ends."""
    with suppress(AttributeError, io.UnsupportedOperation):  # no file, but what is in its place
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


resumable_command = functools.partial(
    one_line_errors, interrupted="interrupted; run the same command again to continue"
)
"""As :func:`one_line_errors`, for a command that continues where it was stopped."""


def leave_signals_to_parent() -> None:
    """In a worker process: its parent answers SIGINT, and SIGTERM ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


# how Python leaves them; an application may have handlers of its own
_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM cleans up as SIGINT does; forked processes wait for it and print nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield  # other threads get no signals
        return
    answers = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() == answers:
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            sys.exit(128 + number)

    ours = [number for number, usual in _DEFAULTS.items() if signal.getsignal(number) == usual]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _DEFAULTS[number])


def explain_uncaught_errors() -> None:
    """Let fairseq's own commands print the one line too."""
    previous = sys.excepthook
    if getattr(previous, "explains", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = explain(error) if issubclass(kind, Exception) else None
        if parent_process() is not None and isinstance(error, ConnectionError):
            return  # the parent ended with a line of its own
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

    fairseq's loading threads keep running after an error in training. If the interpreter shuts down
    under them, it sometimes aborts, with a message from C++ after our line.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # none, full or closed
            stream.flush()
    os._exit(1)
