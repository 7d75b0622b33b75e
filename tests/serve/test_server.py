"""The interface over real HTTP: what it answers, whom it refuses."""

import http.client
import json
import socket
import struct
import threading
import time

import numpy as np
import pytest

from tests.serve.conftest import HOSTILE, served
from tiednmt.serve import server as module
from tiednmt.serve.answers import LONGEST, Answers

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def ask(server):
    """One request; the status, the headers, and the answer read as JSON where it is that."""

    def request(path, question=None, headers=None, method=None, body=None):
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
        if question is not None:
            body = json.dumps(question)
        given = {**(JSON if body is not None else {}), **(headers or {})}
        connection.request(method or ("GET" if body is None else "POST"), path, body, given)
        response = connection.getresponse()
        content = response.read().decode()
        if response.headers.get_content_type() == "application/json":
            content = json.loads(content)
        connection.close()
        return response.status, response.headers, content

    return request


def test_the_model(ask, translator):
    status, _, model = ask("/api/model")
    assert status == 200
    assert (model["source"], model["target"], model["parameters"]) == (
        *("en", "de"),
        translator.parameters,
    )
    assert model["tie"].startswith("tie:three-way|")
    assert model["matrices"] == [{"name": "S", "languages": ["de", "en"], "words": 34}]


def test_translations_are_those_of_the_translator(ask, translator):
    _, _, answer = ask("/api/translate", {"text": "w3 w7 dog.", "nbest": 3})
    (expected,) = translator.translate(["w3 w7 dog."], nbest=3, details=True)
    found = answer["translations"]
    assert [one["text"] for one in found] == [one.text for one in expected]
    assert [one["score"] for one in found] == pytest.approx(
        [one.score for one in expected], abs=1e-3
    )
    assert found[0]["source_units"] == ["w3", "w7", "d@@", "og", "."]


def test_a_connection_that_its_client_breaks_off_leaves_no_trace(server, capfd):
    client = socket.create_connection(server.server_address[:2])
    client.sendall(b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    while any(of_request(thread) for thread in threading.enumerate()):
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


def of_request(thread):
    return "process_request_thread" in thread.name


def test_the_number_of_translations_changes_none_of_them(ask, translator):
    of = {n: ask("/api/translate", {"text": "w3 w7 dog.", "nbest": n})[2] for n in (1, 5)}
    assert of[1]["translations"] == of[5]["translations"][:1]
    answer = ask("/api/translate", {"text": "w3 w7 dog.", "nbest": 8, "beam": 9})[2]
    (expected,) = translator.translate(["w3 w7 dog."], nbest=8, beam=9)
    assert [one["text"] for one in answer["translations"]] == expected
    answer = ask("/api/translate", {"text": "w3 w7 dog.", "beam": 1})[2]
    assert [one["text"] for one in answer["translations"]] == translator.translate(
        ["w3 w7 dog."], beam=1
    )


def test_attention_is_a_row_per_unit_and_agrees_with_the_alignment(ask, translator):
    _, _, answer = ask("/api/translate", {"text": "w3 w7 w1 w5"})
    best = answer["translations"][0]
    weights = np.array(best["attention"])
    assert weights.shape == (len(best["units"]) + 1, len(best["source_units"]) + 1)
    assert weights.sum(1) == pytest.approx(np.ones(len(weights)), abs=1e-3)
    (one,) = translator.translate(["w3 w7 w1 w5"], details=True)
    most = weights[: len(one.units), : len(one.source_units)].argmax(1)
    assert [*enumerate(most)] == [(unit, source) for source, unit in one.alignment]


def test_neighbours_are_the_rows_of_greatest_cosine(ask, translator):
    _, _, answer = ask("/api/nearest", {"word": "w3", "count": 4})
    (matrix,) = answer["matrices"]
    assert matrix["units"] == ["w3"]
    dictionary = translator.task.source_dictionary
    weights = translator.models[0].embeddings.source.weight.detach().double().numpy()
    rows = weights[dictionary.nspecial :] / np.linalg.norm(
        weights[dictionary.nspecial :], axis=1, keepdims=True
    )
    words = dictionary.symbols[dictionary.nspecial :]
    cosines = dict(zip(words, rows @ rows[words.index("w3")], strict=True))
    del cosines["w3"]
    expected = sorted(cosines.items(), key=lambda one: -one[1])[:4]
    assert [word for word, _ in matrix["nearest"]] == [word for word, _ in expected]
    assert [cosine for _, cosine in matrix["nearest"]] == pytest.approx(
        [cosine for _, cosine in expected], abs=1e-6
    )


def test_a_word_of_several_units_and_an_unknown_one(ask):
    _, _, answer = ask("/api/nearest", {"word": "dog"})
    assert answer["matrices"][0]["units"] == ["d@@", "og"]
    _, _, answer = ask("/api/nearest", {"word": "żółw"})
    assert (answer["matrices"][0]["units"], answer["matrices"][0]["nearest"]) == ([], [])


def test_each_matrix_of_an_untied_model(translators):
    answers = Answers(translators["none"])
    assert [one["name"] for one in answers.model()["matrices"]] == ["U_src", "U_tgt", "V"]
    found = answers.neighbours({"word": "w3"})["matrices"]
    assert len({str(one["nearest"]) for one in found}) == 3


@pytest.mark.parametrize(
    ("path", "question", "status", "reason"),
    [
        ("/api/translate", {}, 400, "text: give some text"),
        ("/api/translate", {"text": " \n"}, 400, "text: give some text"),
        ("/api/translate", {"text": 7}, 400, "text: give some text"),
        ("/api/translate", {"text": "x" * (LONGEST + 1)}, 400, "at most 1,000"),
        ("/api/translate", {"text": "\ud800"}, 400, "text: holds half a surrogate"),
        ("/api/translate", {"text": "w1\0"}, 400, "text: holds a NUL character"),
        ("/api/translate", {"text": "w1", "nbest": 0}, 400, "nbest: must be a whole number"),
        ("/api/translate", {"text": "w1", "nbest": 10**9}, 400, "nbest"),
        ("/api/translate", {"text": "w1", "nbest": True}, 400, "nbest"),
        ("/api/translate", {"text": "w1", "nbest": 6}, 400, "nbest: must be a whole number from 1"),
        ("/api/translate", {"text": "w1", "nbest": 3, "beam": 2}, 400, "nbest"),
        ("/api/translate", {"text": "w1", "beam": 11}, 400, "beam: must be a whole number"),
        ("/api/nearest", {"word": "w1", "count": "9"}, 400, "count"),
        ("/api/nearest", [], 400, "must be an object"),
        ("/api/none", {"text": "w1"}, 404, "nothing of that name"),
    ],
)
def test_questions_that_are_refused(ask, path, question, status, reason):
    found, _, answer = ask(path, question)
    assert found == status
    assert reason in answer["error"]


@pytest.mark.parametrize("body", ["", "{", "[" * 5000, '{"text": ' + "9" * 5000 + "}", "\xff"])
def test_what_is_not_json(ask, body):
    assert ask("/api/translate", body=body.encode("latin-1"))[0] == 400


@pytest.mark.parametrize(
    "path", ["/page.html", "/../pyproject.toml", "/api/model/", "//etc/passwd"]
)
def test_there_are_no_files(ask, path):
    assert ask(path)[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "localhost.example.org"},
        {"Host": "127.0.0.1.example.org:8000"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_other_sites_are_refused(ask, headers):
    assert ask("/api/model", headers=headers)[0] == 403
    assert ask("/api/translate", {"text": "w1"}, headers=headers)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:80", "[::1]:8000"])
def test_this_machine_is_served_by_any_of_its_names(ask, host):
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert ask("/api/nearest", {"word": "w1"}, headers=headers)[0] == 200


def test_a_form_of_another_site_cannot_ask(ask):
    """It can send text and forms without leave, but no JSON."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert ask("/api/translate", {"text": "w1"}, headers={"Content-Type": kind})[0] == 415
    status, _, answer = ask("/api/translate", method="OPTIONS")
    assert status == 501 and "Unsupported method" in answer["error"]


def test_a_head_has_no_body(ask):
    status, headers, body = ask("/", method="HEAD")
    assert status == 200 and int(headers["Content-Length"]) > 1000 and not body


def test_the_page_runs_its_own_script_alone(ask):
    status, headers, page = ask("/")
    policy = headers["Content-Security-Policy"]
    assert status == 200 and page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def raw(server, request):
    """What comes back of bytes that no client would send, to the end of the connection."""
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        connection.sendall(request)
        found = b""
        while part := connection.recv(4096):
            found += part
    return found.decode()


def status_of(response):
    return response.split()[1]


@pytest.mark.parametrize(
    ("length", "status"),
    [(None, "411"), ("-1", "411"), ("1e3", "411"), ("99999999", "413"), ("9" * 50, "413")],
)
def test_the_length_of_what_is_sent(server, length, status):
    head = "POST /api/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    given = "" if length is None else f"Content-Length: {length}\r\n"
    assert status_of(raw(server, f"{head}{given}\r\n".encode())) == status


CHUNKED = "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /api/model HTTP/1.1\r\nContent-Length: {}\r\n", "200"),
        ("GET /api/model HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "200"),
        (f"POST /api/translate HTTP/1.1\r\nContent-Type: application/json\r\n{CHUNKED}", "411"),
    ],
    ids=["length", "chunked", "both"],
)
def test_what_is_sent_is_never_taken_for_a_further_request(server, head, status):
    inner = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = raw(server, f"{head.format(len(inner))}Host: localhost\r\n\r\n{inner}".encode())
    assert status_of(found) == status
    assert found.count("HTTP/1.1 ") == 1


def test_a_client_that_says_nothing_is_left(server, monkeypatch):
    monkeypatch.setattr(module._Handler, "timeout", 0.1)
    assert raw(server, b"POST /api/translate HTTP/1.1\r\nHost: local") == ""


class Slow:
    """Answers once it is let."""

    def __init__(self):
        self.let = threading.Event()

    def model(self):
        return {}

    neighbours = model

    def translations(self, question):
        self.let.wait(30)
        return {}

    def close(self):
        pass


def test_no_more_wait_than_there_may(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    slow = Slow()
    with served(slow) as server:

        def request():
            connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
            connection.request("POST", "/api/translate", "{}", JSON)
            return connection

        waiting = [request(), request()]
        while server.waiting._value:
            pass
        assert request().getresponse().status == 503
        slow.let.set()
        assert [one.getresponse().status for one in waiting] == [200, 200]


def test_several_who_ask_at_once_get_their_own_answers(ask, translator):
    lines = [f"w{i} w{i + 1}" for i in range(6)]
    expected = translator.translate(lines, beam=5)
    found = [""] * len(lines)

    def work(i):
        answer = ask("/api/translate", {"text": lines[i], "nbest": 1})[2]
        found[i] = answer["translations"][0]["text"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(lines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_markup_stays_text(ask):
    (matrix,) = ask("/api/nearest", {"word": HOSTILE})[2]["matrices"]
    assert matrix["units"] == [HOSTILE]
