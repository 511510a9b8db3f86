"""All that a dashboard needs to be drawn, started and stopped together."""

from __future__ import annotations

import shutil
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from .browser import Drawn, chromium
from .servers import DASHBOARDS, Prometheus, load
from .serving import Site, build, site

__all__ = ["Stage", "missing"]


def missing() -> list[str]:
    """The programs that are needed and not installed."""
    return [name for name in ("npm", "prometheus", "chromium") if shutil.which(name) is None]


class Stage:
    """A site, a Prometheus and a browser; loads when the play begins."""

    def __init__(
        self, directory: Path, site: Site, prometheus: Prometheus, browser: Browser, interval: int
    ) -> None:
        self.prometheus = prometheus
        self._directory = directory
        self._site = site
        self._browser = browser
        self._interval = interval
        self._loads = ExitStack()
        self._began = time.time()

    @classmethod
    @contextmanager
    def run(
        cls,
        directory: Path,
        interval: int,
        dashboards: Path = DASHBOARDS,
        victoria_logs: str = "",
    ) -> Iterator[Stage]:
        """Set it up.

        Args:
            directory: Where files of the servers go.
            interval: Seconds between two scrapes.
            dashboards: Directory of the JSON.
            victoria_logs: Address of a VictoriaLogs that gets the records, too, and is asked.
        """
        with ExitStack() as stack:
            served = stack.enter_context(site(build(directory), dashboards, victoria_logs))
            prometheus = stack.enter_context(Prometheus.run(directory, interval))
            browser = stack.enter_context(chromium())
            stage = cls(directory, served, prometheus, browser, interval)
            with stage._loads:
                yield stage

    def play(self, seconds: float) -> None:
        """Two processes work, and go on afterwards.

        The second begins when a third of the time is over; in the middle of the
        first one's day one of its stores fails, and after half of the time the collector is away
        for a sixth of it.
        """
        scrapes = int(seconds / self._interval)
        self._began = time.time()
        first = self._work("first", seconds, "--incident")
        self.prometheus.scrape([first])
        self.prometheus.wait(first, scrapes // 3)
        self.prometheus.scrape([first, self._work("second", seconds)])
        self.prometheus.wait(first, scrapes // 2)
        self._site.away = True
        self.prometheus.wait(first, scrapes * 2 // 3)
        self._site.away = False
        self.prometheus.wait(first, scrapes)

    def _work(self, name: str, seconds: float, *more: str) -> str:
        # Seals happen every hour or so; here somebody wants to see some.
        settings = {"AXON_AUDIT_MAX_FILE_AGE": f"{max(1, int(seconds / 5))}s"}
        return self._loads.enter_context(
            load(self._directory / name, self._site.url, seconds, *more, **settings)
        )

    def open(self, dashboard: str, theme: str = "dark") -> Drawn:
        """Open the dashboard in the file of that name, from the play's begin until now."""
        rates = self._began + 5 * self._interval  # the time from when on there are any
        query = {
            "dashboard": f"dashboards/{dashboard}",
            "prometheus": self.prometheus.url,
            "loki": self._site.url,
            "victorialogs": self._site.victoria_logs,
            "scrape": self._interval,
            "theme": theme,
            "from": int(rates * 1000),
            "to": int(time.time() * 1000),
        }
        return Drawn(self._browser, f"{self._site.url}/?{urllib.parse.urlencode(query)}")
