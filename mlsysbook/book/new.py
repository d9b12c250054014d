"""mlsys new chapter: an outline becomes a skeleton that builds and that its author fills section by section."""

import re

from .. import atomic
from ..errors import CatalogueError
from .site import is_outline

_HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
title: {title}
number: {number}
volume: {volume}
minutes: 90
---
"""

_QUESTION, _GOAL = "**The question.** One situation, one number that surprises.", "- **calculate** what the chapter is about."

_IMPORTS = """```{code-cell} ipython3
:tags: [hide-input]

import numpy as np
from matplotlib import pyplot as plt

from mlsysbook.book import exercise_key, figure, live, number
from mlsysim import device, roofline
```
"""

_EXAMPLE = """```{code-cell} ipython3
:tags: [hide-input]

card = device("h100")
ridge = card.rate("fp16") / card.bandwidth.value
intensity = np.geomspace(1, 3000, 60)
reached = np.minimum(card.rate("fp16"), intensity * card.bandwidth.value) / 1e12
fig, ax = plt.subplots()
ax.plot(intensity, reached)
ax.set(xscale="log", yscale="log", xlabel="FLOP a byte", ylabel="TFLOP/s")
figure(fig, "roof",
       alt=f"A line that rises to {reached[-1]:.0f} TFLOP/s and is level from {ridge:.0f} FLOP a byte on.",
       caption="Say what the figure means. What is seen stands in alt.")
number("ridge", ridge, "FLOP/B", low=250, high=350, digits=2)
```

Every result comes from a cell, with the range in which its sentence is true: the roof of {glue:}`fig-roof` bends at
{glue:text}`ridge`.
"""

_END = """## Fallacies and pitfalls

**Fallacy: a belief, as people state it.** The number that refutes it.

## Exercises

```{code-cell} ipython3
:tags: [hide-input]

times = {size: 1e3 * float(roofline(0.0, f"{size} GB", "h100").seconds) for size in (1, 2, 5)}
exercise_key("key-read", {f"{size} GB": t for size, t in times.items()}, "ms", 0.02)
number("sol-read", times[1], "ms", low=0.28, high=0.32, digits=2)
```

```{exercise}
:label: LABEL-read
[10] How many milliseconds does an H100 need at least to read the weights that you choose?

{glue:}`key-read`
```

```{solution} LABEL-read
:class: dropdown
Bytes over bandwidth, {glue:text}`sol-read` for each GB.
```

## Key terms

| term | meaning |
|---|---|

## References

```{bibliography}
:filter: docname in docnames
```
"""


def start(course, number):
    """Turn the outline of a chapter into a skeleton -> its path. Raises CatalogueError if it is no outline."""
    chapter = next((c for c in course.chapters if c.number == number), None)
    if chapter is None:
        raise CatalogueError(f"no chapter {number!r} in course.yml; wants the form V1-13, and an entry under chapters first")
    path = course.root / "book" / f"{chapter.file}.md"
    if path.is_file() and not is_outline(course, chapter):
        raise CatalogueError(f"{path.relative_to(course.root)}: is written already; edit it, or mark it `outline: true` to start anew")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    atomic.write(path, skeleton(chapter, text))
    return path


def skeleton(chapter, outline):
    """The source of a chapter: question, objectives and plan of its outline, with an example of each thing a chapter has."""
    opening = re.search(r"\n(\*\*The question\.\*\*.*?)\n## ", outline, re.S)
    goals = re.search(r"\n## Objectives\n\n(.*?)\n\n## ", outline, re.S)
    plan = re.findall(r"^\d+\. (.+)$", outline, re.M) or ["The first idea"]
    title = f'"{chapter.title}"' if "&" in chapter.title else chapter.title
    parts = [_HEAD.format(title=title, number=int(chapter.number[3:]), volume=chapter.volume), f"# {chapter.title}\n",
             "```{where-used}\n```\n", f"{opening[1].strip() if opening else _QUESTION}\n",
             f":::{{admonition}} After this chapter you can\n:class: note\n\n{goals[1] if goals else _GOAL}\n:::\n",
             _IMPORTS, f"## 1. {plan[0]}\n", _EXAMPLE, *(f"## {i}. {section}\n" for i, section in enumerate(plan[1:], 2)),
             _END.replace("LABEL", chapter.number.lower())]
    return "\n".join(parts)
