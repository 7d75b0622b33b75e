"""Commands in forks of a process that has loaded torch and fairseq, which takes most of a command.

Everything of this project is loaded by each command itself. The server reads command lines from a
socket, with the three standard streams of each, and answers with the exit status.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# and not fairseq's commands, which configure the logging; the second is loaded by optimizers
LOADED = ("fairseq", "torch._dynamo", "fairseq.options")


class Zygote:
    """The server, started when it is first used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        self._address = os.path.join(folder.name, "commands")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._address)
        listening.listen(16)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            env=dict(environment),
            stdin=subprocess.PIPE,  # whose end is that of the server, however the tests end
        )
        listening.close()

    def run(self, command: Sequence[str], cwd: Path, streams: Sequence[int]) -> int:
        """Run ``command``, a script or ``-m module`` with arguments, to its end.

        Returns:
            Its exit status; below zero is the signal that ended it.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            request = json.dumps({"command": list(command), "cwd": str(cwd)}).encode()
            socket.send_fds(connection, [len(request).to_bytes(4, "big")], list(streams))
            connection.sendall(request)
            return int(connection.makefile().read())


def _next_command(listening: socket.socket) -> tuple[list[str], str]:
    """Serve; returns in a process of its own for each command, with the command and its folder."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for commands are not waited for
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listening.close()
        size, streams, _, _ = socket.recv_fds(connection, 4, 3)
        request = json.loads(connection.makefile().read(int.from_bytes(size, "big")))
        child = os.fork()
        if child:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(str(status).encode())
            os._exit(0)
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return request["command"], request["cwd"]
    os._exit(0)


def _run(command: list[str], cwd: str) -> None:
    os.chdir(cwd)
    if any("fairseq" in os.path.basename(word) for word in command[:2]):
        # which the import of fairseq did already, but to no avail where its commands come first
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    if command[0] == "-m":
        sys.argv, sys.path[0] = command[1:], cwd
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = command, os.path.dirname(command[0])
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    for module in LOADED:
        __import__(module)
    gc.freeze()  # or each command would look through all of it, and copy it
    _run(*_next_command(socket.socket(fileno=int(sys.argv[1]))))
