"""The counters of requests."""

import asyncio
from typing import Any

import pytest

from tests.extras import skip_without

skip_without("starlette", "prometheus_client")


@pytest.mark.parametrize("is_started", [False, True])
def test_request_that_fails_in_the_server_is_counted_once(is_started: bool) -> None:
    from seqx_serve.metrics import Metrics
    from seqx_serve.middleware import Measured

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["endpoint"] = app
        if is_started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("the model is broken")

    async def ignore(*_: Any) -> Any:
        return None

    metrics = Metrics(lambda: 0)
    with pytest.raises(RuntimeError, match="the model is broken"):
        asyncio.run(Measured(app, metrics)({"type": "http", "path": "/parse"}, ignore, ignore))
    text = metrics.text().decode()
    status = 200 if is_started else 500
    assert f'seqx_requests_total{{path="/parse",status="{status}"}} 1.0' in text
    assert text.count("seqx_requests_total{") == 1
    assert 'seqx_request_seconds_count{path="/parse"} 1.0' in text
