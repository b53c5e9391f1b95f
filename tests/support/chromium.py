"""A headless Chromium that opens a page and is asked about it, over the DevTools protocol."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request

from tornado.websocket import websocket_connect

__all__ = ["Page", "executable", "open_page"]

#: What a slow machine may take to start the browser, to open a page, or to answer.
_SECONDS = 60
_ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def executable():
    """Path of Chromium or Chrome; None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """An open page.

    Attributes
    ----------
    complaints : list of str, warnings and errors of the console, and exceptions
    requests : list of str, URLs that the page asked for, itself included
    """

    def __init__(self, connection):
        self.complaints, self.requests = [], []
        self._connection, self._count, self._answers = connection, 0, {}

    async def _call(self, method, **parameters):
        """Send a command and return its result; note the events that come in the meantime."""
        self._count += 1
        number = self._count
        await self._connection.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while number not in self._answers:
            message = json.loads(await asyncio.wait_for(self._connection.read_message(), _SECONDS))
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _note(self, event, parameters):
        if event == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(
                " ".join(str(one.get("value", one.get("description"))) for one in parameters["args"])
            )
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    async def go(self, url, width, height):
        """Open ``url`` in a window of that size in pixels."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable")
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await self._call("Page.navigate", url=url)

    async def evaluate(self, expression):
        """The value of a JavaScript expression, which may be a promise."""
        answer = await self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def until(self, expression):
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if value := await self.evaluate(expression):
                return value
            await asyncio.sleep(0.05)
        raise TimeoutError(expression)

    async def point_at(self, x, y):
        """Move the mouse there, in pixels of the window."""
        await self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def wheel(self, x, y, delta, ctrl=False):
        """Turn the mouse wheel there."""
        await self._call(
            "Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta, modifiers=2 if ctrl else 0
        )


@contextlib.asynccontextmanager
async def open_page(url, profile, width=1366, height=900):
    """A :class:`Page` with ``url``; ``profile`` is an empty folder for the browser."""
    # Chromium does not run as root inside its sandbox.
    arguments = [*_ARGUMENTS, *["--no-sandbox"] * (os.geteuid() == 0), f"--user-data-dir={profile}", "about:blank"]
    with (
        open(profile / "chromium.log", "wb") as log,
        subprocess.Popen([executable(), *arguments], stdout=log, stderr=log) as browser,
    ):
        try:
            port = await _port(profile / "DevToolsActivePort", browser)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
                target = next(one for one in json.load(answer) if one["type"] == "page")
            connection = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 26)
            try:
                page = Page(connection)
                await page.go(url, width, height)
                yield page
            finally:
                connection.close()
                # Closing is an exchange: the socket is freed once the last of the events and then nothing was read.
                while await asyncio.wait_for(connection.read_message(), _SECONDS) is not None:
                    pass
        finally:
            browser.terminate()


async def _port(file, browser):
    """The port that the browser chose."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and browser.poll() is None:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise RuntimeError(f"Chromium did not start; its output: {file.parent / 'chromium.log'}")
