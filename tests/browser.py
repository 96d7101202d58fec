"""Headless Chromium, controlled over two pipes (Chrome DevTools Protocol)."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 30


class Browser:
    """A page in a browser.

    Args:
        commands: the file descriptor to which commands are written
        answers: the file descriptor from which answers and events are read
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._read = b""  # bytes of answers that `command` has not returned yet
        self._number = 0
        self._session: str | None = None
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def command(self, method: str, **parameters: Any) -> Any:
        """Send a command, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(self._commands, json.dumps(message | session).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                new = os.read(self._answers, 1 << 20)
                assert new, "the browser has ended"
                self._read += new
            text, _, self._read = self._read.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Open an address."""
        self.command("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Return the value of an expression of the page's language."""
        result = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of the first element that a CSS selector finds."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"{script} is not true"
            time.sleep(0.05)

    def type(self, selector: str, text: str) -> None:
        """Focus an element, and type a text into it."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.command("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key in the element that has the focus."""
        key_of = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.command("Input.dispatchKeyEvent", type="keyDown", **key_of, **text)
        self.command("Input.dispatchKeyEvent", type="keyUp", **key_of)

    def show(self, *, width: int, scheme: str) -> None:
        """Show the page with a width in pixels and the scheme `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run Chromium, or skip the test if it is not installed.

    Args:
        folder: a folder for the files of the browser
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    # Chromium reads commands from the file descriptor 3, and writes answers to 4.
    shell = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", chromium, *options, "--remote-debugging-pipe"],
        pass_fds=(read_commands, write_answers),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.terminate()
        process.wait()
