"""A session with cards: the same deck, order and schedule as the page's, for the terminal and for JupyterLab."""

import html
import re
from datetime import datetime

from . import content, progress, schedule


def chapters(course):
    """Numbers of the chapters that have cards."""
    return list(content.files(course))


def load(course, number, tell=lambda text: None):
    """The data of a chapter, as the page gets them. Raises ContentError or BookError."""
    from ..book.outputs import outputs

    return content.rendered(content.load(course, number), outputs(course, number, progress=tell).numbers)


def deck(data, state):
    """Cards of a chapter, after those that wrong answers made."""
    missed = [_card(q) for q in data["questions"] if any(not a["right"] for a in state["answers"].get(q["id"], ()))]
    return [*missed, *data["cards"]]


def _card(question):
    right = [c for c in question.get("choices", ()) if c["right"]]
    back = [(question["shown"], question["why"])] if question["kind"] == "number" else [(c["text"], c["why"]) for c in right]
    options = "".join(f"<li>{c['text']}</li>" for c in question.get("choices", ()))
    front = f"<p>{question['ask']}</p>" + (options and f"<ul>{options}</ul>")
    return {"id": question["id"], "section": question["section"], "front": front,
            "back": "".join(f"<p><strong>{a}</strong></p><p>{b}</p>" for a, b in back)}  # fmt: skip


class Session:
    """Cards of some chapters with the progress in a file. `cards` are met in the order of queue(); time is that of `clock`."""

    def __init__(self, data, path=None, clock=lambda: datetime.now().astimezone()):
        self.data, self.clock = list(data), clock
        self.path = progress.default_path() if path is None else path
        self.state = progress.read(self.path)
        self.cards = [card for chapter in self.data for card in deck(chapter, self.state)]
        self.done = []

    def queue(self, more=0):
        """(due, fresh, left): cards that are due, the longest overdue first; new ones for today; how many new ones wait."""
        now, reviews = self.clock(), self.state["reviews"]

        def when(card):
            found = schedule.replay(reviews[card["id"]])
            return found.at.isoformat() if found.at else found.day

        due = sorted((c for c in self.cards if reviews.get(c["id"]) and schedule.is_due(reviews[c["id"]], now)), key=when)
        unseen = [c for c in self.cards if not reviews.get(c["id"])]
        today = now.date().isoformat()
        begun = sum(all(r["day"] == today for r in entries) for entries in reviews.values() if entries)
        room = max(0, self.state["settings"].get("newADay", schedule.PARAMETERS["new_a_day"]) + more - begun)
        return due, unseen[:room], len(unseen[room:])

    def next(self, more=0):
        """The card to show now, or None."""
        due, fresh, _ = self.queue(more)
        return next(iter([*due, *fresh]), None)

    def intervals(self, card):
        """What each rating would do, in words: {"Again": "10 min", ...}."""
        minutes = schedule.preview(self.state["reviews"].get(card["id"], []), self.clock())
        return {name: schedule.told(m) for name, m in zip(schedule.RATINGS.values(), minutes, strict=True)}

    def rate(self, card, rating):
        """Keep a review in the file at once."""
        made = schedule.review(rating, self.clock())
        self.state = progress.change(self.path, lambda state: state["reviews"].setdefault(card["id"], []).append(made))
        self.done.append((card["id"], made["at"]))

    def undo(self):
        """Take the last rating of this session back -> whether there was one."""
        if not self.done:
            return False
        ident, at = self.done.pop()

        def alter(state):
            state["reviews"][ident] = [r for r in state["reviews"].get(ident, ()) if r["at"] != at]
            if not state["reviews"][ident]:
                del state["reviews"][ident]

        self.state = progress.change(self.path, alter)
        return True


def plain(text):
    """A card's HTML as text for a terminal: formulas as TeX between dollars, items of lists after dashes."""
    text = re.sub(r'<span class="math[^>]*>\\[(\[](.*?)\\[)\]]</span>', r"$\1$", text, flags=re.S)
    text = re.sub(r"</?code>", "`", re.sub(r"<li>", "\n- ", re.sub(r"</p>\s*<p>", "\n\n", text)))
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
