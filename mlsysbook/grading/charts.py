"""Small charts as plain SVG: nothing to fetch, nothing to run, sharp in print, read aloud by their title."""

from markupsafe import Markup, escape

BINS = 10


def counts(shares, bins=BINS):
    """How many shares fall into each tenth; a full score belongs to the last."""
    out = [0] * bins
    for s in shares:
        out[min(bins - 1, max(0, int(s * bins + 1e-9)))] += 1
    return out


def histogram(shares, middle, *, label):
    """Distribution of shares of the points, with the median marked."""
    width, height, left, bottom, top = 640, 190, 34, 34, 18
    n = counts(shares)
    most = max(max(n), 1)
    step = (width - left - 24) / BINS
    plot = height - bottom - top
    said = ", ".join(f"{10 * i}–{10 * i + 10} %: {k}" for i, k in enumerate(n) if k)
    title = escape(f"{label}. Submissions by share of the points: {said or 'none'}")
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">']
    for tick in sorted({0, most // 2 if most > 3 else 0, most}):
        y = top + plot * (1 - tick / most)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 24}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for i, k in enumerate(n):
        h = plot * k / most
        if k:
            parts.append(f'<rect class="bar" x="{left + i * step + 2:.1f}" y="{top + plot - h:.1f}" width="{step - 4:.1f}" '
                         f'height="{h:.1f}" rx="2"/>')
    for i in range(0, BINS + 1, 2):
        parts.append(f'<text class="tick" x="{left + i * step:.1f}" y="{height - 16}" text-anchor="middle">{10 * i} %</text>')
    if middle is not None:
        x = left + middle * step * BINS
        anchor, dx = ("end", -5) if middle > 0.8 else ("start", 5)
        parts.append(f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 10}" y2="{top + plot}"/>'
                     f'<text class="note" x="{x + dx:.1f}" y="{top - 3}" text-anchor="{anchor}">median {100 * middle:.0f} %</text>')
    parts.append(f'<text class="tick" x="{left + 5 * step:.1f}" y="{height - 2}" text-anchor="middle">share of the points</text></svg>')
    return Markup("".join(parts))


def spark(shares):
    """The same distribution, the size of a word."""
    n = counts(shares)
    most = max(max(n), 1)
    bars = "".join(f'<rect class="bar" x="{9 * i}" y="{22 - 20 * k / most:.1f}" width="7" height="{20 * k / most:.1f}"/>'
                   for i, k in enumerate(n) if k)
    said = ", ".join(str(k) for k in n)
    return Markup(f'<svg class="spark" viewBox="0 0 90 24" role="img" aria-label="Submissions in each tenth of the points: {said}">'
                  f'<line class="grid" x1="0" x2="90" y1="22.5" y2="22.5"/>{bars}</svg>')


def bar(share):
    """A share as a bar of fixed width."""
    if share is None:
        return Markup('<span class="soft">–</span>')
    kind = "good" if share >= 0.75 else "part" if share >= 0.5 else "bad"
    return Markup(f'<svg class="meter" viewBox="0 0 100 10" role="img" aria-label="{100 * share:.0f} percent" '
                  f'preserveAspectRatio="none"><rect class="rail" width="100" height="10"/>'
                  f'<rect class="{kind}" width="{100 * share:.1f}" height="10"/></svg>')
