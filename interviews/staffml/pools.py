"""Baked pools: which draws of a template were vetted, one small JSON file a template in interviews/pools/.

Draws are pure functions of their number, so a list of numbers and a hash of what they gave is the whole pool: a file
of two kilobytes stands for 200 variants, and a template that has changed since is noticed.
"""

import hashlib
import json
from pathlib import Path

from .template import FOLDER, load
from .variants import PoolError, accepted, draw

POOLS = FOLDER.parent / "pools"
SIZE = 200


def build(name, n=SIZE, *, folder=FOLDER, pools=POOLS):
    """Vet n variants of a template and write its pool -> (path, whether the file changed)."""
    template = load(name, folder)
    kept = accepted(template, n)
    lines = [f'"template": {json.dumps(name)}', f'"draws": {json.dumps([i for i, _ in kept])}',
             f'"sha256": "{fingerprint(template, [p for _, p in kept])}"']
    text = "{\n " + ",\n ".join(lines) + "\n}\n"
    path = Path(pools) / f"{name}.json"
    changed = not path.is_file() or path.read_text(encoding="utf-8") != text
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path, changed


def draws(name, pools=POOLS):
    """What the pool of a template holds -> {"draws": [...], "sha256": ...}. Raises PoolError if there is none."""
    path = Path(pools) / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PoolError(f"{name} has no pool; run: staffml build {name}") from None
    except ValueError as error:
        raise PoolError(f"{path} is not JSON ({error}); run: staffml build {name}") from None


def variant(template, i):
    """Draw number i of a template, which its pool holds -> Given. Not vetted again."""
    return template.given(draw(template.name, i, template.space))


def fingerprint(template, variants):
    """SHA-256 of what a template's texts, parameters and answers are for these variants; figures are not part of it."""
    texts = [" ".join(text.split()) for text in (template.prompt, *(part.question for part in template.parts))]
    # Answers to nine digits: another build of a mathematical library may give another last bit.
    values = [[dict(p), [f"{x:.9e}" for x in template.answers(p).values()]] for p in variants]
    values = [[{k: f"{v:.12e}" if isinstance(v, float) else v for k, v in given.items()}, answers] for given, answers in values]
    return hashlib.sha256(json.dumps([texts, values], sort_keys=True).encode()).hexdigest()
