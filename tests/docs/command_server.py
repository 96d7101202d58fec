"""A server process that has imported torch and seqx and runs each command in a fork.

Importing torch takes seconds, and the documents have dozens of commands. `start(folder)` starts the server
and writes a `seqx`, a `python` and a `pytest` into `folder`. They pass their arguments, current folder,
environment and standard streams to the server, and exit with the code of the fork. For documents the server
shortens training from minutes to a second.
"""

import contextlib
import ctypes
import gc
import importlib.util
import io
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HUGE = 2 * 1024 * 1024  # bytes of a huge page
MADV_COLLAPSE = 25

# Importing json and socket, too, would double the time of a client.
CLIENT = """\
#!{python} -IS
import os, sys, _socket
link = _socket.socket(_socket.AF_UNIX)
link.connect({address!r})
variables = [part for item in os.environb.items() for part in item]
arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
request = b"\\0".join([{name!r}.encode(), os.getcwdb(), b"%d" % len(arguments), *arguments, *variables])
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
link.sendmsg([len(request).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
link.sendall(request)
answer = link.recv(1)
sys.exit(answer[0] if answer else 70)
"""

SMALL = {  # overrides by task; {model} is the setting that has encoder and decoder
    "translation": [
        "training.steps=4",
        "training.validate_every=4",
        "training.save_every=2",
        "training.tokens=400",
        "task.tokenizer.size=400",
        "search.ratio=0.1",
        "search.extra=1",
        "{model}.d_model=16",
    ],
    "language_model": [
        "training.steps=4",
        "training.validate_every=4",
        "training.save_every=4",
        "training.tokens=400",
        "task.tokenizer.size=400",
        "task.max_length=64",
        "search.extra=2",
        "{model}.d_model=16",
    ],
    "classification": [
        "training.steps=4",
        "training.validate_every=4",
        "training.save_every=4",
        "training.tokens=32",
        "task.tokenizer.size=400",
        "{model}.d_model=16",
    ],
    "parsing": [
        "training.steps=4",
        "training.validate_every=4",
        "training.save_every=4",
        "training.tokens=250",
        "task.tokenizer.size=340",
        "search.ratio=1",
        "search.extra=4",
        "{model}.d_model=32",
    ],
}
FAST = "training.precision=fp32"  # in bf16, a CPU compiles kernels for each new shape
STACKS = {  # overrides by the type of encoder or decoder
    "transformer": ["layers=1", "attention.heads=2", "feedforward.width=32"],
    "convolution": ["layers=1", "width=16"],
    "gru": ["layers=1"],
    "lstm": ["layers=1"],
}
SMALL["text_to_text"] = SMALL["translation"]
SMALL["tagging"] = SMALL["classification"]
SHORT = {  # overrides by the task and the type of its corpus
    ("translation", "sample"): ["{corpus}.train=400", "{corpus}.dev=3", "{corpus}.test=3"],
    ("translation", "files"): ["{corpus}.limit=400"],
    ("language_model", "sample"): ["{corpus}.train=400", "{corpus}.dev=3", "{corpus}.test=3"],
    ("language_model", "files"): [],
    ("text_to_text", "sample"): ["{corpus}.train=400", "{corpus}.dev=3", "{corpus}.test=3"],
    ("text_to_text", "files"): [],
    ("classification", "sample"): ["{corpus}.train=400", "{corpus}.dev=3", "{corpus}.test=3"],
    ("classification", "files"): [],
    ("tagging", "sample"): ["{corpus}.train=400", "{corpus}.dev=3", "{corpus}.test=3"],
    ("tagging", "conll"): [],
    ("parsing", "sample"): ["{corpus}.seed=2", "{corpus}.train=8", "{corpus}.dev=3", "{corpus}.test=3"],
    ("parsing", "treebank"): ["{corpus}.limit=8"],
    ("parsing", "ptb"): [],
}


@contextlib.contextmanager
def start(
    folder: Path,
    *,
    python: str | None = None,
    environment: Mapping[str, str] = os.environ,
    shortens: bool = False,
) -> Iterator[None]:
    """Start a server, and write the commands to `folder`.

    Args:
        folder: a new folder
        python: the path of the Python that runs the commands; a fork of this process runs them if it is None
        environment: the environment variables of the server
        shortens: shorten the training of `seqx run`
    """
    folder.mkdir()
    address = folder / "socket"
    arguments = [str(address), *(["--shorten"] if shortens else [])]
    for name in ("seqx", "python", "pytest"):
        client = CLIENT.format(python=sys.executable, address=str(address), name=name)
        (folder / name).write_text(client, encoding="utf-8")
        (folder / name).chmod(0o755)
    with (
        subprocess.Popen([python, "-P", __file__, *arguments], cwd=folder, env=environment)
        if python
        else _fork("-m", "tests.docs.command_server", *arguments, cwd=folder, env=dict(environment))
    ) as server:
        try:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            yield
        finally:
            server.kill()


def _fork(*command: str, **options: Any) -> subprocess.Popen[Any]:
    from tests import forked

    return forked.Forked([sys.executable, *command], **options)


def serve(address: str, *, shortens: bool) -> None:
    """Serve until the parent process ends."""
    import sentencepiece  # noqa: F401
    import torch._dynamo  # noqa: F401

    import seqx.testing  # noqa: F401
    import seqx_parsing.trees_command  # noqa: F401
    from seqx.cli import main

    with contextlib.redirect_stdout(io.StringIO()):
        for arguments in (["check", "wmt_en_de"], ["run", "--help"], ["translate", "--help"]):
            main(arguments, standalone_mode=False)
    if shortens:  # this is a fork of a test process, which caches the sample
        warm_up()
    gc.collect()
    gc.freeze()  # forks do not visit the objects of this process
    use_huge_pages()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    while True:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(link, shortens)
        link.close()


def warm_up() -> None:
    """Train and use small models, so that no fork has to import and initialise what these need."""
    from click.testing import CliRunner

    from seqx.cli import main

    if importlib.util.find_spec("transformers"):
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel  # noqa: F401
    import rich.live
    import rich.table  # noqa: F401

    others = ("show", "evaluate", "score", "components", "export", "compare", "sweep", "replay", "report")
    commands = [
        *([name, "--help"] for name in others),
        ["run", "wmt_en_de", "--profile", "sample", "--folder", "translator"],
        ["translate", "translator"],
        ["run", "wsj_parsing", "--profile", "sample", "--folder", "parser"],
        ["parse", "parser", "--draw"],
    ]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cache, os.environ["SEQX_CACHE"] = os.environ["SEQX_CACHE"], folder
        for arguments in commands:
            result = CliRunner().invoke(main, shorten(arguments), input="The cat sleeps .\n")
            assert result.exit_code == 0, result.output
        os.environ["SEQX_CACHE"] = cache


def cache_sample() -> None:
    """Generate the sentences of each seed of the sample only once per process, and those of most tests now.

    Forks of this process share them.
    """
    import seqx_sample.corpus
    from seqx_sample.generate import pairs, take

    streams: dict[int, Iterator[Any]] = {}
    generated: dict[tuple[int, str], list[Any]] = {}
    lock = threading.Lock()

    def take_cached(seed: int, split: Any, count: int) -> Iterable[Any]:
        if count >= 4000:
            return take(seed, split, count)
        with lock:
            stream = streams.setdefault(seed, pairs(seed))
            known = generated.setdefault((seed, split), [])
            while len(known) < count:
                pair = next(stream)
                generated.setdefault((seed, pair.split), []).append(pair)
            return known[:count]

    vars(seqx_sample.corpus)["take"] = take_cached
    take_cached(1, "train", 400)
    seqx_sample.corpus.Sample().identity()


def use_huge_pages() -> None:
    """Move the memory of this process to huge pages, so that a fork has fewer page table entries to copy.

    A fork of a process with 500 MB takes 8 ms instead of 35 ms. Without support of the operating system, the
    memory stays as it is.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, access, _, _, inode, *name = line.split(maxsplit=5)
        if access == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            first, last = (int(address, 16) for address in addresses.split("-"))
            first = -(-first // HUGE) * HUGE
            if last - first >= HUGE:
                length = (last - first) // HUGE * HUGE
                advise(ctypes.c_void_p(first), ctypes.c_size_t(length), MADV_COLLAPSE)


def _answer(link: socket.socket, shortens: bool) -> None:
    code = 1
    try:
        header, streams, _, _ = socket.recv_fds(link, 4, 3)
        length, request = int.from_bytes(header, "big"), b""
        while len(request) < length:
            request += link.recv(length - len(request))
        name, folder, count, *rest = map(os.fsdecode, request.split(b"\0"))
        arguments, variables = rest[: int(count)], rest[int(count) :]
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        threading.Thread(target=_stop_with_client, args=[link], daemon=True).start()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(zip(variables[::2], variables[1::2], strict=True))
        if shortens:
            _fork_runs()
        if shortens and name == "seqx" and arguments[:1] == ["sweep"]:
            import seqx

            vars(seqx)["load_checked"] = _shorten_trials(seqx.load_checked)
        if shortens and name == "python":
            import seqx

            vars(seqx)["run"] = shorten_python_runs(seqx.run)
        code = _run(name, shorten(arguments) if shortens and name == "seqx" else arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  the client prints it
        traceback.print_exc()
    finally:
        link.sendall(bytes([code]))
        os._exit(code)


def _stop_with_client(link: socket.socket) -> None:
    """Send SIGTERM to this process when its client ends: a document stops a program by the client's id."""
    if link.recv(1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def _run(name: str, arguments: list[str]) -> int:
    try:
        if name == "python":
            sys.argv = arguments
            sys.path.insert(0, "")
            runpy.run_path(arguments[0], run_name="__main__")
        elif name == "pytest":
            import pytest

            return int(pytest.main(arguments))
        else:
            from seqx.cli import main

            main(arguments, prog_name="seqx")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0


def shorten_python_runs(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `seqx.run` that shortens training as `shorten` does for `seqx run`."""

    def run(recipe: str, *overrides: str, profile: str | None = None, **options: Any) -> Any:
        return original(*_shortened(recipe, overrides, profile), profile=profile, **options)

    return run


def _shorten_trials(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `seqx.load_checked` that loads the recipes of a sweep's trials as `shorten` changes them."""

    def load_checked(recipe: str, profile: str | None = None, overrides: Iterable[str] = ()) -> Any:
        shortened, *settings = _shortened(recipe, overrides, profile)
        return original(shortened, profile, settings)

    return load_checked


def _shortened(recipe: str, overrides: Iterable[str], profile: str | None) -> list[str]:
    options = ["run", *(["--profile", profile] if profile else [])]
    return shorten([*options, recipe, *overrides])[len(options) :]


def _fork_runs() -> None:
    """Let this process start its runs as forks, with shortened training: the trials of a sweep, and ranks."""
    from tests import forked

    def start(command: list[str], **options: Any) -> subprocess.Popen[Any]:
        return forked.ForkedIfSeqx([*command[:3], *shorten(command[3:])], **options)

    vars(subprocess)["Popen"] = start


def shorten(arguments: list[str]) -> list[str]:
    """Add settings that shorten `seqx run`, `seqx plan` without --gpu, and answers of untrained models.

    Other commands are returned unchanged.
    """
    if arguments[:2] in (["evaluate", "opus"], ["translate", "opus"], ["translate", "imported"]):
        return [*arguments, "search.extra=3"]  # a model of another program, which was not trained
    if arguments[:1] not in (["run"], ["plan"]) or {"--gpu", "--help"} & {*arguments}:
        return arguments
    from seqx import recipe
    from seqx.commands.run import run
    from seqx_plan.command import plan

    command = run if arguments[0] == "run" else plan
    options: dict[str, Any] = command.make_context(arguments[0], list(arguments[1:])).params
    plain = recipe.load(options["recipe"], options["profile"], options["overrides"]).tree.plain()
    task, path = plain["task"], "model.inner" if "inner" in plain["model"] else "model"
    if task["type"] not in SMALL:  # a task of a document, whose answers depend on the training
        return [*arguments, FAST]
    model = plain["model"].get("inner", plain["model"])
    stacks = [
        f"{{model}}.{side}.{override}"
        for side in ("encoder", "decoder")
        if side in model
        for override in STACKS[model[side]["type"]]
    ]
    corpora = list(text_corpora("task.corpus", task["corpus"]))
    if task["type"] == "parsing":
        corpora = corpora[:1]
    overrides = [override.format(model=path) for override in (FAST, *SMALL[task["type"]], *stacks)]
    for setting, corpus in corpora:
        overrides += [override.format(corpus=setting) for override in SHORT[task["type"], corpus["type"]]]
        if corpus["type"] == "files":
            held_out = [split for split in ("dev", "test") if corpus.get(split)]
            overrides += [f"{setting}.{split}=[{first_lines(corpus[split])}]" for split in held_out]
    if command is plan:
        overrides += ["--seconds", "0.1"]
    return [*arguments, *overrides]


def first_lines(files: list[str]) -> str:
    """Copy the first lines of files, and return the names of the copies, separated by commas."""
    folder = Path(".first_lines")
    folder.mkdir(exist_ok=True)
    copies = [folder / Path(file).name for file in files]
    for file, copy in zip(files, copies, strict=True):
        lines = Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
        copy.write_text("".join(lines[:3]), encoding="utf-8")
    return ", ".join(map(str, copies))


def text_corpora(setting: str, corpus: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the setting and the value of each corpus with text, also of those inside other corpora."""
    if corpus["type"] == "mixed":
        for number, part in enumerate(corpus["corpora"]):
            yield from text_corpora(f"{setting}.corpora.{number}", part)
    elif corpus["type"] == "tagged":
        yield from text_corpora(f"{setting}.corpus", corpus["corpus"])
    else:
        yield setting, corpus


if __name__ == "__main__":
    serve(sys.argv[1], shortens="--shorten" in sys.argv[2:])
