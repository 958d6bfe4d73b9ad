"""What it takes to look at the built pages: a static host on loopback, Chromium, axe-core."""

import gzip
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
COMPRESSED = {".html", ".css", ".js", ".json", ".svg", ".txt", ".ipynb", ".md"}


@lru_cache(maxsize=256)
def compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6)


class StaticHost(SimpleHTTPRequestHandler):
    """Files of a folder, text of them under gzip, as static hosts send them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in COMPRESSED or not path.is_file():
            super().do_GET()
            return
        body = compressed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ConnectionError):  # a page that is closed hangs up
            super().handle()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a folder on loopback, without a slash at its end."""
    handler = partial(StaticHost, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    args = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    if os.name == "posix" and os.geteuid() == 0:
        args.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=args)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser,
    address: str,
    noise: list[str] | None = None,
    *,
    width: int = 1280,
    **options: Any,
) -> Iterator[Page]:
    """A page as a new reader sees it: nothing cached, nothing remembered, all of it there.

    What goes wrong while it is open is added to `noise`.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    if noise is not None:
        listen(page, noise)
    page.goto(address)
    settle(page)
    yield page
    context.close()


def listen(page: Page, noise: list[str]) -> None:
    home = "127.0.0.1"

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            noise.append(f"console {message.type}: {message.text}")

    def on_request(request: Request) -> None:
        if urlsplit(request.url).hostname not in (None, home):
            noise.append(f"from another host: {request.url}")

    def on_response(response: Response) -> None:
        if response.status >= 400:
            noise.append(f"{response.status}: {response.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: noise.append(f"page error: {error}"))
    page.on("request", on_request)
    page.on("requestfailed", lambda sent: noise.append(f"request failed: {sent.url}"))
    page.on("response", on_response)


def settle(page: Page) -> None:
    """Wait until the formulas are set and the fonts are there."""
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    page.evaluate("async () => { await document.fonts.ready; }")


def violations(
    page: Page, *, only: Sequence[str] = (), without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What axe-core finds wrong with a page, by all of its rules or a choice of them."""
    # Preloading would fetch style sheets anew, those they import from a wrong address.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if only:
        options["runOnly"] = list(only)
    options["rules"] = {rule: {"enabled": False} for rule in without}
    page.evaluate(AXE)
    return page.evaluate("options => axe.run(document, options)", options)["violations"]


def is_grave(violation: dict[str, Any]) -> bool:
    return violation["impact"] in ("serious", "critical")


def transferred(page: Page) -> dict[str, int]:
    """Bytes over the wire, headers included, of everything that a page has loaded."""
    entries = page.evaluate(
        """["navigation", "resource"].flatMap(type => performance.getEntriesByType(type))
        .map(entry => [entry.name, entry.transferSize])"""
    )
    return dict(entries)
