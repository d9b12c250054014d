"""When to meet a template again: FSRS with the rating taken from the grade, not from how one felt about it.

A card stands for a template, and each review is a fresh variant, so an answer cannot be remembered. Scheduler: the
package fsrs (Ye et al. 2022, A stochastic shortest path algorithm for optimizing spaced repetition scheduling).
"""

RATINGS = ("again", "hard", "good", "easy")
_HALF = 0.5


def rating(share, seconds, expected):
    """Share of the points and time -> a rating: all right in time "easy", all right "good", half or more "hard", else "again"."""
    if share > 1 - 1e-9:
        return "easy" if seconds <= expected else "good"
    return "hard" if share >= _HALF else "again"


def review(data, rating, at):
    """A card as JSON (None for a new one) after a review at `at` (UTC) -> (card as JSON, when it is due)."""
    from fsrs import Card, Rating, Scheduler

    card = Card.from_json(data) if data else Card(card_id=1, due=at)
    card, _ = Scheduler(enable_fuzzing=False).review_card(card, Rating[rating.title()], at)
    return card.to_json(), card.due
