"""Servers in processes of their own, asked by real clients."""

import itertools
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
import torch
from click.testing import CliRunner

import seqx
from benchmarks.server import Client
from seqx.cli import main
from tests.models import write_model
from tests.server import Server, serving

libretranslate = pytest.importorskip("libretranslatepy")
for extra in ("starlette", "uvicorn", "prometheus_client", "python_multipart", "babel"):
    pytest.importorskip(extra)

from seqx_serve import explanations  # noqa: E402  it needs the extra
from seqx_serve.constraints import unanswered  # noqa: E402
from seqx_serve.models import ServedModel  # noqa: E402

LINES = ["the man sees a dog", "a house", "letters and carpets", "Emma is sick ."]
UPLOAD = '--x\r\nContent-Disposition: form-data; name="q"; filename="f"\r\n\r\nx\r\n--x--\r\n'
LATIN_1 = (
    b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field
        for field in ((b"q", b"gr\xfcn"), (b"source", b"en"), (b"target", b"de"))
    )
    + b"--x--\r\n"
)
SENTIMENT = """\
task:
  type: classification
  corpus: {type: sample, columns: [en, sentiment], train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, size: 400}
  max_length: 24
  metrics: [accuracy]
model:
  type: classifier
  d_model: 16
  encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
"""
SENTENCE = "the dog sees a man ."


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    """Return a server with both models."""
    limits = ("--max-lines", "30", "--max-characters", "2000", "--max-body", "20000")
    with serving(models / "en-de", models / "parser", *limits) as server:
        yield server


@pytest.fixture(scope="module")
def direct(models: Path) -> seqx.Predictor:
    """Return the translator, loaded in this process."""
    return seqx.load(models / "en-de")


class Gate:
    """A gate in a folder. While it is closed, servers with it begin to decode a batch, and wait."""

    def __init__(self, folder: Path) -> None:
        self._begun, self._closed = folder / "begun", folder / "closed"

    def install(self) -> None:
        """Let the predictors of this process wait for the gate."""
        original = seqx.Predictor.hypotheses

        def hypotheses(self_: seqx.Predictor, inputs: Any, window: int | None = None) -> Iterator[seqx.NBest]:
            self._begun.touch()
            while self._closed.exists():
                time.sleep(0.01)
            return original(self_, inputs, window)

        vars(sys.modules["seqx.inference.predictor"])["Predictor"].hypotheses = hypotheses

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Close the gate within the block."""
        self._begun.unlink(missing_ok=True)
        self._closed.touch()
        try:
            yield
        finally:
            self._closed.unlink()

    def wait_for_batch(self) -> None:
        """Wait until a batch has arrived at the closed gate."""
        wait_for(self._begun.exists, "no batch was begun")


def wait_for(is_true: Callable[[], bool], problem: str) -> None:
    """Wait until a function returns true."""
    for _ in range(1000):
        if is_true():
            return
        time.sleep(0.02)
    pytest.fail(problem)


def raw(server: Server, *parts: bytes) -> socket.socket:
    """Open a connection, and send bytes over it."""
    link = socket.create_connection(server.address, timeout=30)
    for part in parts:
        link.sendall(part)
    return link


def raw_post(path: str, fields: object, length: int | None = None) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def translate(q: object, **others: object) -> dict[str, Any]:
    return {"q": q, "source": "en", "target": "de", **others}


@pytest.mark.promise("libretranslate-client")
def test_published_client_gets_direct_answers(server: Server, direct: seqx.Predictor) -> None:
    client = libretranslate.LibreTranslateAPI(server.url)
    assert client.translate(LINES[0], "en", "de") == direct([LINES[0]])[0]
    assert client.translate("\n".join(LINES), "en", "de") == "\n".join(direct(LINES))
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    assert server.send("POST", "/languages")[1] == client.languages()  # as the client in argostranslate
    assert client.detect(LINES[0]) == [{"language": "en", "confidence": 0.0}]
    with pytest.raises(HTTPError, match="400"):
        client.translate(LINES[0], "en", "fr")


@pytest.mark.parametrize("form", ["json", "urlencoded", "multipart", "query"])
def test_translate_reads_every_form_of_body(server: Server, direct: seqx.Predictor, form: str) -> None:
    fields = translate(LINES[0], format="text", alternatives=1, api_key="")
    if form == "json":
        status, answer = server.post("/translate", **fields)
    elif form == "urlencoded":
        content = "application/x-www-form-urlencoded; charset=utf-8"
        status, answer = server.send("POST", "/translate", urlencode(fields), Content_Type=content)
    elif form == "query":
        status, answer = server.send("POST", f"/translate?{urlencode(fields)}")
    else:
        parts = "".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        content = "multipart/form-data; boundary=x"
        status, answer = server.send("POST", "/translate", f"{parts}--x--\r\n", Content_Type=content)
    (nbest,) = direct.with_answers(2).hypotheses([LINES[0]])
    best, other = nbest
    assert (status, answer) == (200, {"translatedText": best.text, "alternatives": [other.text]})


@pytest.mark.parametrize("content", ["application/x-www-form-urlencoded", ""])
def test_json_that_is_sent_as_a_form_is_refused_with_the_header_to_send(server: Server, content: str) -> None:
    body = json.dumps(translate(LINES[0]))  # as curl -d sends it without a header
    status, answer = server.send("POST", "/translate", body, **({"Content_Type": content} if content else {}))
    reason = f"the body is JSON, but its content type is {content or 'missing'}"
    assert (status, answer["error"]) == (400, f"{reason}; send Content-Type: application/json")


def test_translate_answers_lists_pages_and_auto(server: Server, direct: seqx.Predictor) -> None:
    texts = [LINES[0], f"{LINES[1]}\n\n{LINES[2]}", ""]
    status, answer = server.post("/translate", q=texts, source="auto", target="de")
    one, two, three = direct(LINES[:3])
    assert status == 200
    assert answer["translatedText"] == [one, f"{two}\n\n{three}", ""]
    assert answer["detectedLanguage"] == [{"language": "en", "confidence": 0.0}] * 3
    status, answer = server.post("/translate", **translate(f"<p>{LINES[0]}</p>", format="html"))
    assert answer["translatedText"].startswith("<p>")
    assert answer["translatedText"].endswith("</p>")
    assert server.post("/translate", **translate([])) == (200, {"translatedText": []})


def test_translate_returns_warnings_about_long_lines(server: Server, direct: seqx.Predictor) -> None:
    line = " ".join(LINES * 3)
    _, answer = server.post("/translate", **translate(line))
    assert answer["translatedText"] == direct([line])[0]
    assert re.search("were answered in parts", answer["warnings"][0])


@pytest.mark.promise("server-answers-are-direct")
def test_server_decodes_the_parts_of_a_long_line_in_several_batches(
    models: Path, direct: seqx.Predictor
) -> None:
    line = " ".join(LINES * 9)
    with serving(models / "en-de", "--batch-lines", "2") as server:
        _, answer = server.post("/translate", **translate(f"{LINES[0]}\n{line}"))
        assert answer["translatedText"] == "\n".join(direct([LINES[0], line]))
        assert answer["warnings"] == [
            str(each) for each in seqx.sum_warnings(direct.hypotheses([LINES[0], line])) if each.count
        ]
        batches = re.search(r"seqx_batch_lines_count (\S+)", server.get("/metrics")[1])
        assert batches is not None
        assert float(batches[1]) > 5
        explained = server.post("/explain", q=line)[1]
        assert explained["result"]["answers"][0]["text"] == direct([line])[0]
        assert len({search["part"] for search in explained["searches"]}) > 5
        assert explained["attention"] == []


def test_parse_returns_trees_with_spans(server: Server) -> None:
    status, answer = server.post("/parse", q=[SENTENCE, ""], nbest=2)
    assert status == 200
    result, empty = answer["results"]
    assert empty == {"input": "", "answers": []}
    assert len(result["answers"]) == 2
    tree = result["answers"][0]["tree"]
    assert tree["label"] == "TOP"
    assert tree["span"] == [0, 6]

    def words(part: dict[str, Any]) -> list[str]:
        if "word" in part:
            assert part["span"][1] == part["span"][0] + 1
            return [part["word"]]
        found = [word for child in part["children"] for word in words(child)]
        assert part["span"][1] - part["span"][0] == len(found)
        return found

    assert words(tree) == SENTENCE.split()
    (warning,) = server.post("/parse", q=["the dog sees a man.", SENTENCE])[1]["warnings"]
    assert warning.startswith("1 of 2 inputs look like running text: punctuation is attached to words; ")


def test_server_describes_itself(server: Server) -> None:
    assert server.get("/health") == (200, {"status": "ok"})
    assert server.get("/models")[1] == [
        {"name": "en-de", "action": "translate", "source": "en", "target": "de", "constraints": True},
        {"name": "parser", "action": "parse", "constraints": True},
    ]
    settings = server.get("/frontend/settings")[1]
    assert settings["charLimit"] == 2000
    assert settings["language"]["target"] == {"code": "de", "name": "German"}
    document = server.get("/openapi.json")[1]
    assert {"/translate", "/parse", "/languages"} <= document["paths"].keys()
    server.get("/nowhere")
    text = server.get("/metrics")[1]
    assert 'seqx_requests_total{path="/health",status="200"}' in text
    assert 'seqx_requests_total{path="other",status="404"}' in text
    assert "nowhere" not in text
    assert 'seqx_lines_total{model="en-de"}' in text


def test_explain_returns_answers_and_attention(server: Server, direct: seqx.Predictor) -> None:
    status, answer = server.post("/explain", q=LINES[0], nbest=2, model="en-de")
    (nbest,) = direct.with_answers(2).hypotheses([LINES[0]])
    assert status == 200
    assert [found["text"] for found in answer["result"]["answers"]] == [text for text, _ in nbest]
    maps = direct.attention(LINES[0], nbest[0].hypothesis.ids)
    assert maps is not None
    assert [each["name"] for each in answer["attention"]] == list(maps.maps)
    for each in answer["attention"]:
        weights = torch.tensor(each["weights"])
        assert weights.shape == (2, len(each["query_symbols"]), len(each["key_symbols"]))
        torch.testing.assert_close(weights, maps.maps[each["name"]].weights[0], atol=1e-3, rtol=0)
    (search,) = answer["searches"]
    final = nbest[0].hypothesis
    paths = [[each for each in step if each["best"]] for step in search["steps"]]
    symbols = direct.symbols("target", [*final.ids, seqx.EOS])
    assert [path[0]["token"] for path in paths[: len(symbols)]] == symbols
    assert paths[len(symbols) - 1][0]["outcome"] == "finished"
    assert paths[len(symbols) - 1][0]["score"] == pytest.approx(final.score)
    for before, step in itertools.pairwise(search["steps"]):
        assert all(before[each["parent"]]["outcome"] == "kept" for each in step)
    empty = {"result": {"input": "", "answers": []}, "searches": [], "attention": []}
    assert server.post("/explain", q="")[1] == empty
    tree = server.post("/explain", q=SENTENCE, model="parser")[1]["result"]["answers"][0]["tree"]
    assert tree["span"] == [0, 6]


def test_explain_obeys_constraints(server: Server, direct: seqx.Predictor) -> None:
    constraints = {"prefix": "Hu", "require": ["au"], "forbid": "Katze"}
    request = seqx.Request(input=LINES[0], prefix="Hu", require=("au",), forbid=("Katze",))
    assert "au" in direct([request])[0]
    _, answer = server.post("/explain", q=LINES[0], model="en-de", nbest=1, **constraints)
    assert [each["text"] for each in answer["result"]["answers"]] == direct([request])
    for fields, reason in (
        ({"require": ["x"] * 9}, "require: "),
        ({"forbid": "x" * 201}, "forbid: "),
        ({"prefix": "x" * 1001}, "prefix: "),
    ):
        status, answer = server.post("/explain", q=LINES[0], **fields)
        assert (status, reason in answer["error"]) == (400, True)
    assert server.post("/explain", q="x" * 1990, prefix="x" * 11)[0] == 422
    status, answer = server.post("/explain", q=SENTENCE, model="parser", require="(NPP")
    assert (status, answer["result"]["answers"]) == (200, [])
    assert "the model writes no symbol '(NPP'" in answer["warnings"][0]
    _, answer = server.post("/explain", q=LINES[0], require="Haus", forbid="Haus")
    assert answer["result"]["answers"] == []
    assert answer["warnings"][0].startswith(f"{LINES[0]!r} has no answer that meets prefix, ")


def test_translate_and_parse_obey_constraints(server: Server, direct: seqx.Predictor) -> None:
    constraints = {"prefix": "Hu", "require": ["au"], "forbid": "Katze"}
    requests = [
        seqx.Request(input=line, prefix="Hu", require=("au",), forbid=("Katze",)) for line in LINES[:2]
    ]
    expected = direct(requests)
    assert all(re.match(r"Hu.*\bau\b", text) for text in expected)
    sent = [*LINES[:2], "", f"{LINES[0]}\n"]
    answer = server.post("/translate", **translate(sent, **constraints))
    assert answer == (200, {"translatedText": [*expected, "", f"{expected[0]}\n"]})
    assert server.post("/translate", **translate(LINES[0], prefix=None, require=None))[0] == 200
    form = urlencode([*translate(LINES[0]).items(), *constraints.items()], doseq=True)
    answer = server.send("POST", "/translate", form, Content_Type="application/x-www-form-urlencoded")
    assert answer == (200, {"translatedText": expected[0]})
    first = " ".join(direct(LINES)).split()[0]
    forbidden = direct([seqx.Request(input=line, forbid=(first,)) for line in LINES])
    _, answer = server.post("/translate", **translate("\n".join(LINES), forbid=first))
    assert answer == {"translatedText": "\n".join(forbidden)}
    tree = server.post("/parse", q=SENTENCE, prefix="(S")[1]["results"][0]["answers"][0]["text"]
    assert tree.startswith("(TOP (S")


@pytest.mark.promise("server-refuses-with-a-reason")
@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("/translate", translate("a\nb", require="au"), "text 1 of q has 2 lines, but prefix and require"),
        ("/translate", translate("<p>a<p>b", format="html", prefix="x"), "text 1 of q has 2 lines"),
        ("/translate", translate("a", forbid=" "), "forbid: a phrase has only spaces"),
        ("/translate", translate("a", require="\0"), "require: has a control character"),
        ("/translate", translate("a", prefix="a\nb"), "prefix: has a control character"),
        ("/translate", translate("x" * 1990, prefix="x" * 11), "the request has 2,001 characters"),
        ("/translate", translate(["", "a house"], require="a", forbid="a"), "'a house' has no answer that"),
        ("/parse", {"q": SENTENCE, "require": "(NPP"}, "the model writes no symbol '(NPP'"),
    ],
)
def test_server_refuses_constraints_with_a_reason(
    server: Server, path: str, fields: Any, reason: str
) -> None:
    status, answer = server.post(path, **fields)
    assert (status, reason in answer["error"]) == (422, True), answer


def test_whole_numbers_may_have_a_fraction_of_zero(server: Server) -> None:
    assert server.post("/translate", **translate("a", alternatives=1.0))[0] == 200
    status, answer = server.post("/translate", **translate("a", alternatives=1.5))
    assert (status, answer["error"].partition(":")[0]) == (400, "alternatives")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["a"] * 9, "require: List should have at most 8 items"),
        (["a", 1], "require: item 2: Input should be a valid string"),
        (["a", ""], "require: item 2: String should have at least 1 character"),
        ("x" * 201, "require: String should have at most 200 characters"),
    ],
)
def test_server_names_the_problem_of_a_list(server: Server, value: Any, reason: str) -> None:
    status, answer = server.post("/translate", **translate("a", require=value))
    assert (status, answer["error"][: len(reason)]) == (400, reason)


def test_lines_whose_constraints_cannot_be_met_are_named() -> None:
    answered = seqx.NBest([seqx.Candidate("x", seqx.Hypothesis(ids=[], score=0.0, logprob=0.0))])
    nbests = [answered, seqx.NBest(), seqx.NBest()]
    (warning,) = unanswered(["a house", "two houses", " "], nbests, seqx.Request(input="", forbid=("Haus",)))
    assert warning.startswith("'two houses' has no answer that meets prefix, ")
    assert unanswered(["a house", "two houses", " "], nbests, seqx.Request(input="")) == []


def test_explain_leaves_out_what_is_too_long(direct: seqx.Predictor) -> None:
    model, limits = ServedModel("en-de", direct, None), vars(explanations)
    step = [seqx.TracedHypothesis([3], -1.0, -1.0, "kept")]
    nbest = seqx.NBest(traces=[[[step] * (limits["_MAX_HYPOTHESES"] + 1)]])
    layer = SimpleNamespace(weights=torch.empty(limits["_MAX_WEIGHTS"] + 1, device="meta"))
    found = explanations.explanation_of(model, LINES[0], nbest, SimpleNamespace(maps={"layer": layer}))
    assert (found.searches, found.attention) == ([], [])
    assert found.warnings == [
        "20,001 hypotheses of the search are not shown, more than 20,000; shorten the text",
        "500,001 attention weights are not shown, more than 500,000; shorten the text",
    ]


@pytest.mark.promise("server-refuses-with-a-reason")
@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"source": "en", "target": "de"}, 400, "q: "),
        (translate(5), 400, "q: "),
        (translate("x", alternatives="many"), 400, "alternatives: "),
        (translate("x", format="pdf"), 400, "format: "),
        (translate("\ud800"), 400, "surrogate"),
        (translate("x", target="fr"), 400, "no model translates en-fr; there are: en-de"),
        (translate("x", model="y"), 400, "no model named 'y'"),
        (translate("x\n" * 30), 422, "the request has 31 lines; at most 30 are allowed"),
        (translate("x" * 2001), 422, "the request has 2,001 characters; at most 2,000"),
        (translate("<b>" * 600 + "<" * 4000, format="html"), 422, "characters"),
        (translate("x" * 21000), 413, "the request has more than 20,000 bytes"),
    ],
)
def test_translate_refuses_with_a_reason(server: Server, fields: Any, status: int, reason: str) -> None:
    found, answer = server.post("/translate", **fields)
    assert found == status
    assert reason in answer["error"]


@pytest.mark.promise("server-refuses-with-a-reason")
@pytest.mark.parametrize(
    ("content", "body", "status"),
    [
        ("application/json", "[", 400),
        ("application/json", "[" * 9000, 400),
        ("application/json", "[]", 400),
        ("application/json", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"q=\xff", 400),
        ("application/x-www-form-urlencoded", b"q=%ff", 400),
        ("multipart/form-data; boundary=x", LATIN_1, 400),
        ("application/x-www-form-urlencoded", "&".join(["q=x"] * 1001), 400),
        ("multipart/form-data; boundary=x", "--y", 400),
        ("multipart/form-data", "--y", 400),
        ("multipart/form-data; boundary=x", UPLOAD, 400),
        ("application/pdf", "x", 415),
    ],
)
def test_translate_refuses_malformed_bodies(
    server: Server, content: str, body: str | bytes, status: int
) -> None:
    found, answer = server.send("POST", "/translate", body, Content_Type=content)
    assert found == status
    assert answer["error"]
    assert server.get("/translate") == (405, {"error": "Method Not Allowed"})
    found, answer = server.send("POST", "/translate?source=en&target=de&q=%ff")
    assert (found, "the query is not a form in UTF-8" in answer["error"]) == (400, True)


@pytest.mark.promise("server-answers-are-direct")
def test_server_answers_many_clients_with_their_own_answers(server: Server, direct: seqx.Predictor) -> None:
    texts = [f"{LINES[i % 4]} {LINES[i // 4 % 4]}" for i in range(48)]
    expected = dict(zip(texts, direct(texts), strict=True))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: server.post("/translate", **translate(text))[1], texts))
    assert [answer["translatedText"] for answer in answers] == [expected[text] for text in texts]
    sizes = re.findall(r'seqx_batch_lines_bucket\{le="(\S+)"\} (\S+)', server.get("/metrics")[1])
    counts = dict(sizes)
    assert float(counts["+Inf"]) > float(counts["1.0"]), "no batch had several lines"


@pytest.mark.promise("server-survives-its-clients")
def test_server_closes_connections_of_slow_clients(models: Path) -> None:
    with (
        serving(models / "en-de", "--idle-timeout", "0.3") as server,
        raw(server, b"POST /translate HTTP/1.1\r\n") as silent,
        raw(server, raw_post("/translate", {}, length=100)) as slow,
    ):
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        while silent.recv(1000):
            pass


def test_server_logs_nothing_about_clients_that_left(models: Path) -> None:
    with serving(models / "en-de") as server:
        with raw(server, raw_post("/translate", translate(LINES[0]), length=100)):
            time.sleep(0.05)
        wait_until(server, 'seqx_requests_total{path="/translate",status="499"} 1.0')
        assert server.stop() == (0, "")


def test_server_sends_short_responses_at_once(server: Server) -> None:
    client, seconds = Client(server.address), []
    for _ in range(30):
        start = time.perf_counter()
        assert client.send("GET", "/health")[0] == 200
        seconds.append(time.perf_counter() - start)
    client.close()
    assert min(seconds[20:]) < 0.03, "a delayed acknowledgement takes 0.04 seconds"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def gated(models: Path, gate: Gate) -> Iterator[Server]:
    """Return a server with a gate, and with at most 3 waiting lines."""
    with serving(models / "en-de", "--max-queue", "3", "--batch-lines", "1", before=gate.install) as server:
        yield server


def wait_until(server: Server, metric: str) -> None:
    """Wait until the metrics have a line."""
    wait_for(lambda: metric in server.get("/metrics")[1], f"{metric} is not reported")


@pytest.mark.promise("server-refuses-with-a-reason")
def test_server_refuses_lines_that_the_queue_cannot_hold(
    gated: Server, gate: Gate, direct: seqx.Predictor
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with gate.closed():
            first = pool.submit(gated.post, "/translate", **translate(LINES[0]))
            gate.wait_for_batch()
            second = pool.submit(gated.post, "/translate", **translate("\n".join(LINES[:3])))
            wait_until(gated, "seqx_waiting_lines 3.0")
            status, answer = gated.post("/translate", **translate(LINES[0]))
            assert status == 429
            assert "too many lines are waiting" in answer["error"]
            status, answer = gated.post("/translate", **translate("\n".join(LINES[:4])))
            assert (status, answer["error"]) == (422, "the request has 4 lines; at most 3 are allowed")
        assert first.result() == (200, {"translatedText": direct(LINES[:1])[0]})
        assert second.result() == (200, {"translatedText": "\n".join(direct(LINES[:3]))})


@pytest.mark.promise("server-refuses-with-a-reason")
def test_server_refuses_what_it_cannot_answer_in_time(models: Path, gate: Gate) -> None:
    with serving(models / "en-de", "--timeout", "0.3", before=gate.install) as server, gate.closed():
        status, answer = server.post("/translate", **translate(LINES[0]))
        assert status == 503
        assert answer["error"] == "there was no answer in 0.3 seconds"


@pytest.mark.promise("server-survives-its-clients")
def test_server_forgets_requests_of_clients_that_left(gated: Server, gate: Gate) -> None:
    with gate.closed(), raw(gated, raw_post("/translate", translate(LINES[0]))):
        gate.wait_for_batch()
        with raw(gated, raw_post("/translate", translate("\n".join(LINES[:3])))):
            wait_until(gated, "seqx_waiting_lines 3.0")
        wait_until(gated, 'seqx_requests_total{path="/translate",status="499"} 1.0')
        wait_until(gated, "seqx_waiting_lines 0.0")


@pytest.mark.promise("server-refuses-with-a-reason")
def test_server_limits_connections(models: Path) -> None:
    with serving(models / "en-de", "--max-connections", "2") as server:
        links = [raw(server) for _ in range(2)]
        with raw(server) as refused:
            assert refused.recv(1000).startswith(b"HTTP/1.1 503")
        for link in links:
            link.close()
        for _ in range(100):
            if server.get("/health")[0] == 200:
                break
            time.sleep(0.02)
        assert server.get("/health") == (200, {"status": "ok"})


@pytest.mark.promise("server-finishes-accepted-requests")
def test_server_finishes_accepted_requests_when_it_is_stopped(
    models: Path, gate: Gate, direct: seqx.Predictor
) -> None:
    with (
        serving(models / "en-de", "--batch-lines", "1", before=gate.install) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        with gate.closed():
            answers = [pool.submit(server.post, "/translate", **translate(text)) for text in LINES[:3]]
            wait_until(server, "seqx_waiting_lines 2.0")
            stopped = pool.submit(server.stop)
            wait_for(lambda: is_refused(server), "the server still accepts connections")
        expected = [(200, {"translatedText": text}) for text in direct(LINES[:3])]
        assert [answer.result() for answer in answers] == expected
        assert stopped.result() == (0, "")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_server_stops_at_once_and_quietly_after_a_second_signal(
    models: Path, gate: Gate, second: signal.Signals
) -> None:
    with (
        serving(models / "en-de", before=gate.install) as server,
        gate.closed(),
        raw(server, raw_post("/translate", translate(LINES[0]))),
    ):
        gate.wait_for_batch()
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: is_refused(server), "the server still accepts connections")
        server.process.send_signal(second)
        _, errors = server.process.communicate(timeout=30)
        assert (server.process.returncode, errors) == (0, "")


def is_refused(server: Server) -> bool:
    """Return true if a server accepts no connection."""
    try:
        server.get("/health")
    except ConnectionError:
        return True
    return False


def test_server_needs_keys_if_it_has_some(models: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\nsecond \n\n", encoding="utf-8")
    command = (models / "en-de", "--host", "0.0.0.0", "--api-key-file", keys)
    with serving(*command) as public:
        server = Server(public.process, public.url.replace("0.0.0.0", "127.0.0.1"))
        client = libretranslate.LibreTranslateAPI(server.url, "second")
        assert client.translate(LINES[0], "en", "de")
        assert server.post("/translate", **translate("x", api_key="third"))[0] == 403
        assert server.post("/translate", **translate("x"))[0] == 403
        assert server.send("POST", "/translate", json.dumps(translate("x")), Content_Type="application/json",
                           Authorization="Bearer first")[0] == 200  # fmt: skip
        assert server.get("/metrics")[0] == 403
        assert server.get("/metrics", Authorization="bearer first")[0] == 200
        assert server.get("/languages")[0] == 200
        assert server.get("/frontend/settings")[1]["keyRequired"] is True


@pytest.mark.parametrize(
    ("options", "cpus", "environment", "expected"),
    [
        ([], 8, "", [7]),
        ([], 2, "", [1]),
        ([], 1, "", [1]),
        ([], 64, "", [40]),
        ([], 8, "8", []),
        (["--threads", "8"], 8, "2", [8]),
    ],
)
def test_serve_leaves_a_cpu_for_connections(
    monkeypatch: pytest.MonkeyPatch, options: Sequence[str], cpus: int, environment: str, expected: list[int]
) -> None:
    numbers: list[int] = []
    monkeypatch.setattr(seqx, "cpus", lambda: cpus)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 40)
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    CliRunner().invoke(main, ["serve", "no-model", *options])
    assert numbers == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{en-de}", "--host", "0.0.0.0"], "--host 0.0.0.0: other computers could use the models; add"),
        (["{en-de}", "--api-key-file", "{empty}"], "has no key; write one per line"),
        (["{en-de}", "--languages", "ende"], "--languages ende: write SOURCE-TARGET=MODEL"),
        (["--languages", "zh-Hans-pt-BR=none/model"], "none/model: there is no such folder"),
        (["--languages", "deu_x-es-419=none/model"], "none/model: there is no such folder"),
        (["--languages", "en-de=none", "--languages", "en-fr=none"], "none is named for en-de and for en-fr"),
        (["--languages", "en-de={parser}"], "does not translate; name it without languages"),
        (["--host", "127.0.0.1"], "name a model, as MODEL or with --languages"),
        (["{en-de}", "--host", "192.0.2.1", "--api-key-file", "{keys}"], "cannot be used"),
        (["{en-de}", "--compute", "int8"], "--compute int8 is for an engine; add --engine"),
        (["{en-de}", "--timeout", "inf"], "inf is not a finite number"),
        (["{en-de}", "--idle-timeout", "nan"], "nan is not a finite number"),
        (["{tagged}"], "name them, as in --languages en-de={tagged}"),
    ],
)
def test_serve_refuses_with_one_message(
    models: Path, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "keys").write_text("key\n", encoding="utf-8")
    paths = {"en-de": models / "en-de", "parser": models / "parser", "tagged": tmp_path / "tagged"}
    paths |= {name: tmp_path / name for name in ("empty", "keys")}
    if "{tagged}" in arguments:
        tags = "corpus: {type: sample, columns: [gist, tense], train: 300, dev: 6, test: 6}"
        from tests.models import RECIPE

        write_model(tmp_path / "tagged", text=re.sub("corpus: .*", tags, RECIPE))
    result = CliRunner().invoke(main, ["serve", *(text.format(**paths) for text in arguments)])
    assert result.exit_code != 0
    assert message.format(**paths) in result.output
    assert "Traceback" not in result.output


def test_serve_names_the_extra_if_it_is_missing(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(main, ["serve", str(models / "en-de")])
    assert result.exit_code != 0
    assert re.search(r"pip install -c constraints.txt (-e )?'.\[serve\]'", result.output)


def test_classify_returns_as_many_labels_as_wanted(tmp_path: Path) -> None:
    model = write_model(tmp_path / "sentiment", text=SENTIMENT)
    (nbest,) = seqx.load(model, num_answers=3).hypotheses([LINES[0]])
    with serving(model) as server:
        for number in (1, 3):
            (result,) = server.post("/classify", q=LINES[0], nbest=number)[1]["results"]
            assert [answer["text"] for answer in result["answers"]] == [text for text, _ in nbest[:number]]
        assert server.get("/languages") == (200, [])
        assert "there are: none" in server.post("/translate", **translate("x"))[1]["error"]


def test_models_are_selected_by_languages_or_name(models: Path, direct: seqx.Predictor) -> None:
    other, model = models / "en-de-model-copy", models / "en-de" / "model"
    other.symlink_to(model)
    pairs = ("--languages", f"de-fr={other}", "search.size=2")
    with serving(model, *pairs) as server:
        names = [(info["name"], info["source"], info["target"]) for info in server.get("/models")[1]]
        assert names[0] == ("en-de", "en", "de")
        assert names[1][1:] == ("de", "fr")
        assert server.post("/translate", **translate(LINES[0], model="en-de"))[0] == 200
        assert server.post("/translate", q="x", source="de", target="fr")[0] == 200
        assert server.post("/translate", q="x", source="auto", target="fr")[0] == 200
        assert "en or de" in server.post("/detect", q="x")[1]["error"]
        assert server.post("/parse", q="x")[0] == 404
