"""panel(): the cards in JupyterLab, with the same deck, times and file as `mlsys review`."""

from html import escape

from . import review, schedule


def panel(chapter=None, *, file=None, course=None):
    """Cards to turn and rate, as a widget. chapter: such as "V1-13", or None for a list to choose from; file: of progress.

    Raises ContentError for a chapter without cards, ProgressError for a file that cannot be read.
    """
    import ipywidgets as widgets

    from .. import catalogue
    from .content import ContentError

    course = course or catalogue.load()
    there = review.chapters(course)
    if chapter is not None and chapter not in there:
        raise ContentError(f"{chapter} has no cards; there are some for {', '.join(there) or 'no chapter'}")
    titles = {c.number: c.title for c in course.chapters}
    choose = widgets.Dropdown(options=[(f"{n} {titles[n]}", n) for n in there], value=chapter or there[0], description="Cards of")
    count, face, behind, told = widgets.HTML(), widgets.HTMLMath(), widgets.HTMLMath(), widgets.HTML()
    turn = widgets.Button(description="Show the answer")
    ratings = [widgets.Button(description=name) for name in schedule.RATINGS.values()]
    back, more = widgets.Button(description="Undo"), widgets.Button(description="Five new ones")
    row = widgets.HBox(ratings)
    box = widgets.VBox([choose, count, face, turn, behind, row, widgets.HBox([back, more]), told])
    now = {"session": None, "card": None, "more": 0}

    def begin(_=None):
        now.update(session=review.Session([review.load(course, choose.value)], file), more=0)
        show()

    def show():
        session = now["session"]
        due, fresh, left = session.queue(now["more"])
        card = now["card"] = next(iter([*due, *fresh]), None)
        count.value = f"{len(due)} due, {len(fresh)} new today"
        face.value = card["front"] if card else "Nothing is due now."
        behind.value = ""
        turn.layout.display = None if card else "none"
        row.layout.display = "none"
        more.layout.display = None if left and not card else "none"
        back.disabled = not session.done

    def flip(_):
        card = now["card"]
        behind.value = card["back"]
        for button, (name, after) in zip(ratings, now["session"].intervals(card).items(), strict=True):
            button.description = f"{name}: {after}"
        turn.layout.display, row.layout.display = "none", None

    def rate(rating):
        def clicked(_):
            told.value = ""
            now["session"].rate(now["card"], rating)
            show()

        return clicked

    def take_back(_):
        told.value = escape("The last rating is taken back." if now["session"].undo() else "There is nothing to take back.")
        show()

    def five(_):
        now["more"] += 5
        show()

    choose.observe(begin, "value")
    turn.on_click(flip)
    back.on_click(take_back)
    more.on_click(five)
    for rating, button in zip(schedule.RATINGS, ratings, strict=True):
        button.on_click(rate(rating))
    begin()
    return box
