"""Pages in a real browser that must stay on their own server, find every file, and log no error."""

import re
from contextlib import contextmanager

PATIENCE = 60_000         # ms that anything on a page may take: a machine that does more at once is no fault of the page
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def patient(context):
    """Wait so long for what a page of this context is to show, by locators and by expect(...)."""
    from playwright import sync_api as playwright

    context.set_default_timeout(PATIENCE)
    playwright.expect.set_options(timeout=PATIENCE)             # of this process; five seconds otherwise


@contextmanager
def watched(browser):
    """-> open_(address, before=None, **context), which gives a page; in the end no page may have had a fault.

    before(page) runs before the address is opened. The page has `faults`, so far.
    """
    contexts, faults = [], []

    def open_(at, before=None, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options))
        contexts.append(context)
        patient(context)

        def gate(route):
            local = re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:)", route.request.url)
            faults.extend([] if local else [f"asked for {route.request.url}"])
            route.continue_() if local else route.abort()

        context.route("**/*", gate)
        page = context.new_page()
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: faults.append(f"script: {e}"))
        page.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        if before:
            before(page)
        page.goto(at)
        return page

    try:
        yield open_
    finally:
        for context in contexts:
            context.close()
    assert faults == [], faults
