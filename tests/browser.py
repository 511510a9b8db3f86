"""Pages in a real Chromium, held against what each of ours promises.

::

    with chromium() as browser:
        check_page(browser, path)                    # all that holds for every page
        with opened(browser, path, width=320) as page:
            page.get_by_role("searchbox").fill("bob")

A page that complains (console, errors, dialogs) or asks for anything but itself fails the test.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="it comes with the extra `components`")

from playwright.sync_api import Browser, Page, Request

from dashboards.preview import browser as machine

__all__ = ["check_page", "chromium", "opened", "printed"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine; the test is skipped if there is none."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")
    with machine.chromium() as browser:
        yield browser


@contextmanager
def opened(
    browser: Browser,
    address: str | Path,
    *,
    width: int = 1100,
    dark: bool = False,
    scripts: bool = True,
) -> Iterator[Page]:
    """A page of a file or an address. At the end it has had nothing to complain of, and has asked
    nobody but the server that gave it, if there is one."""
    address = address.as_uri() if isinstance(address, Path) else address
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    complaints: list[str] = []

    def look(request: Request) -> None:
        own, asked = urlsplit(address), urlsplit(request.url)
        served = own.scheme != "file" and asked[:2] == own[:2]
        if not served and request.url != address and asked.scheme != "data":
            complaints.append(f"asked for {request.url}")

    with context:
        page = context.new_page()
        page.on("request", look)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("dialog", lambda one: (complaints.append(f"dialog: {one.message}"), one.dismiss()))
        page.goto(address)
        yield page
        page.wait_for_load_state("networkidle")
    assert not complaints, complaints


def printed(page: Page, path: Path) -> str:
    """The text of the page as it is printed to *path*, in one line."""
    page.pdf(path=path, prefer_css_page_size=True)
    done = subprocess.run(["pdftotext", "-raw", path, "-"], capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


def check_page(browser: Browser, address: str | Path) -> None:
    """What holds for every page: wide, narrow, light and dark, and without scripts."""
    for width in (1100, 320):
        for dark in (False, True):
            with opened(browser, address, width=width, dark=dark) as page:
                faults = [*page.evaluate(_OVERFLOW), *page.evaluate(_CONTRAST)]
                faults += page.evaluate(_STRUCTURE)
                assert not faults, (width, "dark" if dark else "light", faults)
    with opened(browser, address) as page:
        whole = _words(page)
    with opened(browser, address, scripts=False) as page:
        bare = _words(page)
        assert not page.locator("input, button").filter(visible=True).count() or _is_served(page)
    assert bare
    assert not [word for word in bare if word not in whole]
    assert not {word for word in whole if word not in bare} - {"Search", "this", "table"}


def _words(page: Page) -> list[str]:
    return str(page.inner_text("body")).split()


def _is_served(page: Page) -> bool:
    return not page.url.startswith("file:")


# --- what is looked at in the page -------------------------------------------------------------

#: Elements that make the page wider than the screen.
_OVERFLOW = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  const wide = [...document.querySelectorAll('body *')]
    .filter(one => one.getBoundingClientRect().right > most + 1);
  return [`the page is ${document.documentElement.scrollWidth} of ${most} px wide`,
    ...wide.slice(0, 5).map(one => one.outerHTML.slice(0, 100))];
}"""

#: Texts with less contrast than WCAG 2.2 AA asks for.
_CONTRAST = """() => {
  const parts = color => {
    const found = color.match(/^rgba?\\(([\\d.]+), ([\\d.]+), ([\\d.]+)(?:, ([\\d.]+))?\\)$/);
    if (!found) throw new Error(`a color that is not read: ${color}`);
    return found.slice(1).map((part, at) => part === undefined ? 1 : Number(part));
  };
  const over = (front, back) =>
    [0, 1, 2].map(at => front[at] * front[3] + back[at] * (1 - front[3])).concat(1);
  const light = color => {
    const [red, green, blue] = color.slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(parts(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const faults = [];
  for (const element of document.querySelectorAll('body, body *')) {
    const has = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!has || !element.getClientRects().length) continue;
    if (element.closest('title, desc, script')) continue;
    const style = getComputedStyle(element);
    if (style.visibility === 'hidden') continue;
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    const back = behind(element);
    const front = parts(element.closest('svg') ? style.fill : style.color);
    front[3] *= opacity;
    const [low, high] = [light(back), light(over(front, back))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      faults.push(`${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 100)}`);
    }
  }
  return faults;
}"""

#: What a reader without eyes or mouse would stumble over.
_STRUCTURE = """() => {
  const faults = [];
  const all = selector => [...document.querySelectorAll(selector)];
  const must = (holds, words) => { if (!holds) faults.push(words); };
  must(document.documentElement.lang, 'the page has no language');
  must(document.title.trim(), 'the page has no title');
  must(all('main').length === 1 && all('h1').length === 1, 'not one main and one h1');
  let level = 0;
  for (const heading of all('h1, h2, h3, h4, h5, h6')) {
    const here = Number(heading.tagName[1]);
    must(here <= level + 1, `a level is left out before ${heading.textContent.trim()}`);
    must(heading.textContent.trim(), 'a heading is empty');
    level = here;
  }
  const ids = all('[id]').map(one => one.id);
  must(new Set(ids).size === ids.length, 'an id is there twice');
  for (const link of all('a[href^="#"]')) {
    const to = decodeURIComponent(link.getAttribute('href').slice(1));
    must(document.getElementById(to), `nothing is at ${link.getAttribute('href')}`);
  }
  for (const table of all('table')) {
    const name = table.caption?.textContent.trim();
    must(name, 'a table has no caption');
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    must(heads.length && heads.every(one => one.tagName === 'TH' && one.scope === 'col'),
      `${name}: a column has no header`);
    for (const row of table.tBodies[0].rows) {
      const span = [...row.cells].reduce((sum, one) => sum + one.colSpan, 0);
      must(span === heads.length, `${name}: a row has ${span} cells`);
      const named = row.cells[0].scope === 'row' || row.className === 'empty';
      must(named, `${name}: a row has no header`);
    }
  }
  for (const one of all('input, select, textarea')) {
    must(one.type === 'hidden' || one.labels?.length || one.ariaLabel, 'a field has no label');
  }
  for (const one of all('button, a, summary')) {
    must(one.textContent.trim() || one.ariaLabel, `no name: ${one.outerHTML.slice(0, 80)}`);
  }
  for (const one of all('svg')) {
    const named = one.getAttribute('role') === 'img' && one.ariaLabel && one.querySelector('title');
    must(named || one.getAttribute('aria-hidden') === 'true', 'a picture has no words');
  }
  for (const one of all('.skip')) must(one.getAttribute('href') === '#content', 'skips elsewhere');
  must(all('.skip').length, 'there is no link that skips to the content');
  must(!all('[style], [onclick], [onerror], [onload], iframe, object, embed, base, img').length,
    'something is there that may run, or be loaded');
  return faults;
}"""
