"""A PDF of each volume: its pages put one after the other, and printed by Chromium with their figures, formulas and links."""

import re
import shutil
import tempfile
from html import escape
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from bs4 import BeautifulSoup

from .build import BookError
from .serve import background

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]
DATE = b"D:20260101000000+00'00'"
_DROPPED = ".headerlink, .copybtn, script:not([type^='application/json']):not([type^='math']), .mls-controls, .mls-check, .prev-next-footer"


def volumes(course, site, progress):
    """Print every volume that has pages -> paths of ml-systems-volume-N.pdf beside the site. Raises BookError."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        raise BookError("a PDF needs Chromium: install it (Debian: apt-get install chromium)")
    try:
        from playwright import sync_api
    except ImportError:
        raise BookError("a PDF needs Playwright for Python: pip install -e '.[book,test]'") from None
    found = {n: pages for n in (1, 2) if (pages := chapters(site, n))}
    if not found:
        raise BookError(f"{site}: no chapter of any volume is in the table of contents yet, so there is nothing to print")
    made = []
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=".print-") as folder, sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
        for number, pages in found.items():
            progress(f"printing volume {number}, {len(pages)} chapters")
            whole = Path(folder) / f"volume-{number}.html"
            whole.write_text(one_page(site, pages, title(site, number)), encoding="utf-8")
            new = Path(folder) / f"volume-{number}.pdf"
            new.write_bytes(_printed(browser, site, whole))
            made.append(site.parent / f"ml-systems-volume-{number}.pdf")
            new.replace(made[-1])
        browser.close()
    return made


def chapters(site, number):
    """Pages of a volume in the order of the table of contents, relative to the site."""
    index = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    links = [a["href"] for a in index.select(".bd-links a.reference.internal")]
    return [page for page in dict.fromkeys(urldefrag(link)[0] for link in links) if page.startswith(f"vol{number}/")]


def title(site, number):
    """Caption of the volume in the table of contents, up to the colon: what follows is a part of it."""
    index = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    link = index.select_one(f".bd-links a[href^='vol{number}/']")
    return link.find_previous(class_="caption").get_text(" ", strip=True).partition(":")[0]


def one_page(site, pages, heading):
    """All pages as one: names of places carry their page's, and links between pages of the volume stay inside it."""
    first = BeautifulSoup((site / pages[0]).read_text(encoding="utf-8"), "html.parser")
    for tag in first.head.select("script"):
        if "mathjax" not in f"{tag.get('src')} {tag.string}".lower():
            tag.decompose()                 # the theme's scripts look for what a printed page does not have
    for tag in first.head.select("link[href], script[src]"):
        name = "href" if tag.name == "link" else "src"
        tag[name] = _from_root(tag[name], pages[0])
    parts, contents = [], []
    for page in pages:
        article = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser").select_one("article.bd-article")
        for tag in article.select(_DROPPED):
            tag.decompose()
        contents.append(f'<li><a href="#{place(page)}">{escape(article.h1.get_text(" ", strip=True))}</a></li>')
        _rename(article, page, pages)
        parts.append(f'<section class="print-chapter" id="{place(page)}">{article.decode()}</section>')
    contents = "".join(contents)
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light" data-content_root="./">{first.head.decode()}
<body class="print-volume"><header><h1>{escape(heading)}</h1>
<p>ML Systems course contributors. Text and figures: CC BY 4.0; code: Apache-2.0.</p>
<ol class="print-contents">{contents}</ol></header>{"".join(parts)}</body></html>
"""


def place(page, fragment=""):
    """Name of a page, or of a place in it, within the volume."""
    name = re.sub(r"\W+", "-", page.removesuffix(".html"))
    return f"{name}--{fragment}" if fragment else name


def _from_root(address, page):
    return address if re.match(r"[a-z]+:|#|//", address) else urljoin(page, address)


def _rename(article, page, pages):
    for tag in article.find_all(True):
        for name in ("id", "for", "aria-labelledby", "aria-describedby", "headers"):
            if name in tag.attrs:
                values = tag[name] if isinstance(tag[name], list) else tag[name].split()
                tag[name] = " ".join(place(page, v) for v in values)
        for name in ("src", "data"):
            if name in tag.attrs:
                tag[name] = _from_root(tag[name], page)
        for name in ("href", "xlink:href"):
            if name not in tag.attrs or re.match(r"[a-z]+:", tag[name]):
                continue
            target, fragment = urldefrag(tag[name])
            target = urljoin(page, target) if target else page
            if target in pages:
                tag[name] = f"#{place(target, fragment)}"
            elif name == "href":
                del tag[name]               # another part of the site: a printed page has no way there
        for name in ("clip-path", "fill", "marker-end", "mask", "style"):
            if "url(#" in str(tag.attrs.get(name)):
                tag[name] = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{place(page, m[1])})", tag[name])


def _printed(browser, site, whole):
    """The page as PDF, once its formulas are set."""
    with background(site, {whole.name: whole}) as address:
        page, faults = browser.new_page(), []
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.on("requestfailed", lambda r: faults.append(f"{r.url}: {r.failure}"))
        page.on("response", lambda r: faults.append(f"{r.url}: status {r.status}") if r.status >= 400 else None)
        page.goto(f"{address}/{whole.name}", wait_until="load")
        page.evaluate("() => window.MathJax ? MathJax.startup.promise : null")
        page.evaluate("() => document.fonts.ready.then(() => null)")
        page.emulate_media(media="print", color_scheme="light")
        data = page.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
        page.close()
    if faults:
        raise BookError(f"book: Chromium could not print {whole.name}: {faults[0]}")
    return steady(data)


def steady(data):
    """The PDF without what differs between two prints of one page: its dates, and numbers that Chromium gives to cells of tables."""
    numbers = {}

    def renumber(match):
        return b"node%08d" % numbers.setdefault(match[0], len(numbers) + 1)

    return re.sub(rb"\bnode\d{8}\b", renumber, re.sub(rb"D:\d{14}[+\-Z](?:\d\d'\d\d')?", DATE, data))
