"""``tiednmt serve`` as a command line."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from tests.support.commandline import ENVIRONMENT, ROOT
from tests.support.translators import prepared_folder, save_translator
from tiednmt.commands import serve


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    place = tmp_path_factory.mktemp("serve")
    prepared = prepared_folder(place / "prepared")
    save_translator(place / "c.pt", prepared)
    return [str(place / "c.pt"), "--data", str(prepared)]


def test_it_says_where_the_page_is_and_ends_when_interrupted(given):
    start = "from tiednmt.cli import main; main()"
    command = [sys.executable, "-c", start, "serve", *given, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True
    )
    url = process.stdout.readline().split()[0]
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{url}api/model", timeout=30) as answer:
        assert json.load(answer)["name"] == "c.pt"
    asked = [ask_much(urlsplit(url).port) for _ in range(3)]
    time.sleep(0.3)  # the model is at work, for some seconds on most machines
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, "a thread was still inside torch"
    process.stdout.close()
    found = {connection.getresponse().status for connection in asked}
    for connection in asked:
        connection.close()
    assert found <= {200, 503}  # how many of each depends on the machine; all have an answer


def ask_much(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    question = json.dumps({"text": " ".join(["w1"] * 300), "nbest": 10})
    connection.request("POST", "/api/translate", question, {"Content-Type": "application/json"})
    return connection


def test_a_port_that_is_taken(given):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"--port {port}: Address already in use"):
            serve.main([*given, "--port", str(port)])
