"""Requests that schemathesis generates from the OpenAPI document of a server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras import skip_without
from tests.models import PARSING, write_model
from tests.server import serving

skip_without("schemathesis", "starlette", "uvicorn", "prometheus_client", "python_multipart")


@pytest.mark.promise("openapi-is-true")
@pytest.mark.slow
def test_server_answers_generated_requests_as_its_openapi_document_says(tmp_path: Path) -> None:
    write_model(tmp_path / "en-de" / "model")
    write_model(tmp_path / "parser" / "model", text=PARSING)
    search = ("search.size=1", "search.extra=1", "search.ratio=0")
    with serving(tmp_path / "en-de", tmp_path / "parser", *search) as server:
        # A schema cannot say which constraints can be met, nor that a text with some has one line.
        statuses = json.dumps(["2xx", "401", "403", "404", "409", "422", "429", "5xx"])
        (tmp_path / "schemathesis.toml").write_text(
            "".join(
                f'[[operations]]\ninclude-path = "{path}"\n'
                f"checks.positive_data_acceptance.expected-statuses = {statuses}\n"
                for path in ("/translate", "/parse")
            ),
            encoding="utf-8",
        )
        program = "from schemathesis.cli import schemathesis; schemathesis()"
        limits = ["--phases", "coverage,fuzzing", "--max-examples", "4", "--seed", "1", "--no-color"]
        url = f"{server.url}/openapi.json"
        done = subprocess.run(
            [sys.executable, "-c", program, "run", url, *limits],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "9 selected / 9 total" in done.stdout
        assert server.stop() == (0, "")
