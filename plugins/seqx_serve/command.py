"""The command `seqx serve`."""

import ipaddress
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

import seqx
from seqx_serve.limits import Limits
from seqx_serve.models import load_models

_PACKAGES = ("starlette", "uvicorn", "prometheus_client", "python_multipart", "babel")
_DEFAULTS = {field.name: field.default for field in fields(Limits)}


class _Seconds(click.FloatRange):
    """A positive, finite number of seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or refuse it."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):  # a range includes nan
            self.fail(f"{value} is not a finite number", param, ctx)
        return seconds


def _limit(name: str, option: str, text: str) -> Callable[[Any], Any]:
    """Return an option for a limit, with the default and the type that `Limits` has."""
    is_time = name.endswith("seconds")
    return click.option(
        option,
        name,
        type=_Seconds(0, min_open=True) if is_time else click.IntRange(1),
        metavar="SECONDS" if is_time else "N",
        default=_DEFAULTS[name],
        show_default=True,
        help=text,
    )


@click.command(epilog="Example: seqx serve runs/wmt_en_de-sample/model")
@click.argument("arguments", metavar="MODEL... [KEY=VALUE...]", nargs=-1)
@click.option(
    "--languages",
    multiple=True,
    metavar="SOURCE-TARGET=MODEL",
    help="A model that translates, with its languages, as in en-de=runs/NAME/model; may be repeated. Needed "
    "if the recipe of the model does not name them.",
)
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=5000,
    show_default=True,
    help="Port to listen on; 0: any free port.",
)
@click.option(
    "--api-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with the keys of clients, one per line. Needed if other computers can reach the server.",
)
@_limit("body", "--max-body", "Maximum bytes of a request.")
@_limit("lines", "--max-lines", "Maximum lines of a request.")
@_limit("characters", "--max-characters", "Maximum characters of a request.")
@_limit("queue", "--max-queue", "Maximum lines that wait.")
@_limit("batch", "--batch-lines", "Maximum lines that are decoded together.")
@_limit("seconds", "--timeout", "Maximum seconds until a request is answered.")
@_limit("idle_seconds", "--idle-timeout", "Seconds in which a client must send a request.")
@_limit("connections", "--max-connections", "Maximum open connections.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="CPU threads that compute; by default one CPU is left free, unless OMP_NUM_THREADS is set.",
)
@seqx.model_options
def serve(
    arguments: Sequence[str],
    *,
    languages: Sequence[str],
    host: str,
    port: int,
    api_key_file: Path | None,
    threads: int | None,
    options: seqx.ModelOptions,
    **limits: Any,
) -> None:
    """Answer over HTTP with trained models: translate with the API of LibreTranslate, parse, tag and so on.

    Each MODEL is a model folder or the folder of a finished run. KEY=VALUE changes a setting of the task or
    the search of all models, for example search.size=2. A request selects a model by its languages or by its
    name, which is that of the run. Requests that arrive at the same time are decoded together.

    SIGTERM and Ctrl-C stop the server. It then accepts no more requests, and finishes those it has accepted.
    """
    for package in _PACKAGES:
        seqx.import_extra(package, "serve")
    from seqx_serve.server import run  # noqa: PLC0415  it needs the extra

    keys = [] if api_key_file is None else _read_keys(api_key_file)
    if not keys and not _is_loopback(host):
        raise seqx.UserError(
            f"--host {host}: other computers could use the models; add --api-key-file FILE, or leave out "
            "--host"
        )
    models, overrides = seqx.split_overrides(arguments)
    if not models and not languages:
        raise click.UsageError("name a model, as MODEL or with --languages")
    _set_threads(threads)
    served = load_models(models, languages, overrides, options)
    run(served, Limits(**limits), host=host, port=port, keys=keys)


def _set_threads(threads: int | None) -> None:
    """Set the number of threads that compute.

    Idle threads of a pool spin for some milliseconds, because the next operation may follow. If there are as
    many as CPUs, they take CPUs from the threads that read requests and prepare batches.
    """
    import torch  # noqa: PLC0415

    if threads is None and not os.environ.get("OMP_NUM_THREADS"):
        threads = max(1, min(torch.get_num_threads(), seqx.cpus() - 1))
    if threads is not None:
        torch.set_num_threads(threads)


def _read_keys(file: Path) -> list[str]:
    keys = [line.strip() for line in seqx.read_lines(file) if line.strip()]
    if not keys:
        raise seqx.UserError(f"{file}: has no key; write one per line")
    return keys


def _is_loopback(host: str) -> bool:
    """Return true if only this computer can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
