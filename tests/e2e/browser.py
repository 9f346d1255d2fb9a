"""A real browser for tests: headless Chromium behind chromedriver, spoken to in W3C WebDriver over HTTP.

Owns the two processes and the few commands that the tests need. Source of paths and shapes: W3C WebDriver §10–§20.
"""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""Member that holds an element's reference. Source: W3C WebDriver §11."""

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # containers run tests as root, where Chromium's own sandbox refuses to start
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
)
_LISTENING: Final = re.compile(rb"started successfully on port (\d+)")
_POLL_S: Final = 0.05


class WebDriverError(Exception):
    """`code`: the error code of W3C WebDriver §6.6, such as `no such element`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Element:
    """A node of the page. It may go stale when the page replaces it."""

    def __init__(self, browser: "Browser", reference: str) -> None:
        self._browser = browser
        self.reference = {_ELEMENT: reference}
        self._path = f"/element/{reference}"

    async def click(self) -> None:
        await self._browser.command("POST", f"{self._path}/click", {})

    async def type(self, text: str) -> None:
        await self._browser.command("POST", f"{self._path}/value", {"text": text})

    async def text(self) -> str:
        """As rendered: hidden text is not in it."""
        return str(await self._browser.command("GET", f"{self._path}/text"))


class Browser:
    """One session with a profile of its own."""

    def __init__(self, client: httpx.AsyncClient, session_id: str, downloads: Path) -> None:
        self._client = client
        self._session = f"/session/{session_id}"
        self.downloads = downloads
        """Where files that a page saves end up."""

    @classmethod
    @asynccontextmanager
    async def running(cls, scratch: Path) -> AsyncIterator["Browser"]:
        """`scratch`: an empty directory for the profile, the log and the downloads."""
        downloads = scratch / "downloads"
        downloads.mkdir()
        async with _driver(scratch) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
            options = {
                "args": [*_FLAGS, f"--user-data-dir={scratch / 'profile'}"],
                "prefs": {"download.default_directory": str(downloads)},
            }
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            session = await _answer(client, "POST", "/session", wanted)
            browser = cls(client, session["sessionId"], downloads)
            try:
                yield browser
            finally:
                await browser.command("DELETE", "")

    async def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Raises WebDriverError."""
        return await _answer(self._client, method, self._session + path, body)

    async def open(self, url: str) -> None:
        await self.command("POST", "/url", {"url": url})

    async def find(self, selector: str) -> Element:
        """The first that fits the CSS selector, as soon as there is one. Raises TimeoutError."""
        found: Element = await self.until(lambda: self._find(selector), what=selector)
        return found

    async def count(self, selector: str) -> int:
        return int(await self.run("return document.querySelectorAll(arguments[0]).length", selector))

    async def run(self, script: str, *arguments: Any) -> Any:
        """The value that the function body `script` returns; a promise is waited for."""
        passed = [argument.reference if isinstance(argument, Element) else argument for argument in arguments]
        return await self.command("POST", "/execute/sync", {"script": script, "args": passed})

    async def until(self, look: Any, *, what: str, within_s: float = 30) -> Any:
        """What `look()` answers, once it is true. Raises TimeoutError that names `what`."""
        deadline = time.monotonic() + within_s
        while not (seen := await look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not seen within {within_s} s: {what}")
            await asyncio.sleep(_POLL_S)
        return seen

    async def until_true(self, script: str, *arguments: Any, within_s: float = 30) -> Any:
        """What the function body returns, once it is true."""
        return await self.until(lambda: self.run(script, *arguments), what=script, within_s=within_s)

    async def screenshot(self) -> str:
        """PNG, base64."""
        return str(await self.command("GET", "/screenshot"))

    async def _find(self, selector: str) -> Element | None:
        try:
            found = await self.command("POST", "/element", {"using": "css selector", "value": selector})
        except WebDriverError as error:
            if error.code != "no such element":
                raise
            return None
        return Element(self, found[_ELEMENT])


async def _answer(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    value = (await client.request(method, path, json=body)).json()["value"]
    if isinstance(value, dict) and "error" in value:
        raise WebDriverError(value["error"], value["message"])
    return value


@asynccontextmanager
async def _driver(scratch: Path) -> AsyncIterator[str]:
    """The driver on a free port; answers its URL. The browser is in its process group and ends with it."""
    process = await asyncio.create_subprocess_exec(
        *("chromedriver", "--port=0", f"--log-path={scratch / 'chromedriver.log'}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while (found := _LISTENING.search(line := await process.stdout.readline())) is None:
                assert line, "chromedriver ended before it listened"
        yield f"http://127.0.0.1:{found[1].decode()}"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
