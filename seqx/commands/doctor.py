"""The command `seqx doctor`."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from seqx.commands.diagnosis import Diagnosis, diagnose
from seqx.runtime.extras import install_command

_WIDTH = 110
_NAME_WIDTH = 10


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for reports of bugs.")
def doctor(*, as_json: bool) -> None:
    """Examine the installation and the machine, and say what to do about problems.

    Print the versions, CPU, GPU, memory, disk, cache, plugins, and the optional packages that are missing
    with their purpose. Attach the output of --json to a bug report; it has paths and environment variables,
    but no file contents.
    """
    diagnosis = diagnose()
    if as_json:
        click.echo(json.dumps({**diagnosis.facts, "problems": diagnosis.problems}, indent=2))
        return
    for line in _lines(diagnosis):
        click.echo(line)


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    for name, facts in diagnosis.facts.items():
        text = "?" if facts is None else _FORMATS.get(name, str)(facts)
        yield from _wrapped(name, text)
    yield ""
    count = len(diagnosis.problems)
    yield f"{count} problem{'s' * (count != 1)}:" if count else "no problems found"
    for problem in diagnosis.problems:
        yield from textwrap.wrap(f"- {problem}", _WIDTH, subsequent_indent="  ", break_long_words=False)


def _wrapped(name: str, text: str) -> Iterator[str]:
    """Yield the lines of a part; the first one begins with its name."""
    indent = " " * (_NAME_WIDTH + 2)
    for number, line in enumerate(text.splitlines() or [""]):
        first = f"{name:<{_NAME_WIDTH}}  " if number == 0 else indent
        yield from textwrap.wrap(
            line, _WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False
        )


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def _versions(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in facts.items())


def _cpu(facts: Mapping[str, Any]) -> str:
    flags = " ".join(facts["flags"]) or "no AVX2"
    return (
        f"{facts['name']}, {facts['threads']} of {facts['cpus']} CPUs used, load {facts['load']:.1f}\n"
        f"{flags}; kernels {facts['kernels']}, matrix products in {facts['precision']}"
    )


def _gpu(facts: list[Mapping[str, Any]]) -> str:
    return "\n".join(f"{each['name']}, {_size(each['bytes'])}" for each in facts) or "none"


def _memory(facts: Mapping[str, int]) -> str:
    return f"{_size(facts['available'])} available of {_size(facts['total'])}"


def _disk(facts: Mapping[str, int]) -> str:
    return ", ".join(f"{_size(free)} free for {name}" for name, free in facts.items())


def _cache(facts: Mapping[str, Any]) -> str:
    return f"{facts['folder']}, {_size(facts['bytes'])} used, {_size(facts['free'])} free"


def _extras(facts: Mapping[str, Any]) -> str:
    if not facts:
        return "all installed"
    lines = [
        f"{name}: {each['purpose']}; missing: {', '.join(each['missing'])}" for name, each in facts.items()
    ]
    return "\n".join([*lines, f"to install one, in a checkout of seqx: {install_command('NAME')}"])


def _plugins(facts: Mapping[str, Any]) -> str:
    others = ", ".join(facts["loaded"]) or "no others"
    failed = f"; did not load: {', '.join(facts['failed'])}" if facts["failed"] else ""
    return f"{facts['included']} included in seqx; {others}{failed}"


def _environment(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items()) or "no variables that concern seqx"


_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "versions": _versions,
    "cpu": _cpu,
    "gpu": _gpu,
    "memory": _memory,
    "disk": _disk,
    "cache": _cache,
    "extras": _extras,
    "plugins": _plugins,
    "environment": _environment,
}
