"""A dashboard in Chromium."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, sync_playwright

__all__ = ["Drawn", "Panel", "chromium"]

_WIDTH = 1600  # pixels


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        with contextlib.closing(browser):
            yield browser


#: What is on the screen in a panel. Lines, areas and cells have colours, a plot's grid and
#: axes are grey.
_LOOK = """
panel => {
  let colored = 0;
  for (const canvas of panel.querySelectorAll('canvas')) {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, alpha] = data.subarray(at, at + 4);
      const spread = Math.max(red, green, blue) - Math.min(red, green, blue);
      colored += spread > 40 && alpha > 128; // what is faint has no exact colour
    }
  }
  const {panel: id, type, title, state, samples} = panel.dataset;
  return {
    id: Number(id), type, title, state, colored,
    samples: Number(samples),
    text: panel.querySelector('[data-testid$="panel content"]').textContent,
    message: panel.querySelector('[data-message]')?.textContent ?? null,
    exemplars: panel.querySelectorAll('[data-exemplar]').length,
  };
}
"""


@dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Attributes:
        state: ``data``, ``empty``, ``failed`` or ``absent`` (no data source).
        samples: Values that its queries returned.
        colored: Pixels of its plot that have a colour.
        text: All its text, without the title.
        message: What stands there instead of data.
        exemplars: How many its plot shows.
    """

    id: int
    type: str
    title: str
    state: str
    samples: int
    colored: int
    text: str
    message: str | None
    exemplars: int

    @property
    def lack(self) -> str:
        """What is wrong with it; empty if it shows data."""
        if self.state != "data":
            return f"{self.state}: {self.message}"
        if self.message is not None:
            return self.message
        if self.type in ("timeseries", "heatmap"):
            return "" if self.colored else f"nothing is drawn of {self.samples} values"
        if self.type == "text":
            return "" if self.text else "no text"
        return "" if re.search(r"\d", self.text) else f"no number in {self.text!r}"


class Drawn:
    """A dashboard that was opened and has settled.

    Attributes:
        page: The page in the browser.
        complaints: Errors and warnings of the browser's console, and what could not be loaded.
    """

    def __init__(self, browser: Browser, address: str) -> None:
        self.page = browser.new_page(viewport={"width": _WIDTH, "height": 900})
        self.page.set_default_timeout(120_000)
        self.complaints: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda lost: self.complaints.append(f"lost: {lost.url}"))
        self.page.goto(address)
        self.page.wait_for_selector("[data-panel]")
        self.page.wait_for_function("!document.querySelector('[data-state=loading]')")
        self.page.wait_for_load_state("networkidle")

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        self.page.screenshot(path=path, full_page=True)

    def panels(self) -> list[Panel]:
        """What each of its panels shows."""
        return [Panel(**found.evaluate(_LOOK)) for found in self.page.locator("[data-panel]").all()]
