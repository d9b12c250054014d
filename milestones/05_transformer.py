"""Transformer (Vaswani et al. 2017)

Attention joins every position to every other in one step. One small decoder learns to copy, reverse and sort strings of digits, then
another one learns English from nine tenths of four tragedies by Shakespeare. What it needs for a byte of the last tenth is held
against compressors and against counting.
"""

import bz2
import gzip
import lzma
import math
import textwrap
from collections import Counter

import numpy as np

import tinytorch as tt
from mlsysbook.milestones import Gate, Run, main
from tinytorch import datasets

TASKS = {"copy": lambda x: x, "reverse": lambda x: x[:, ::-1], "sort": lambda x: np.sort(x, axis=1)}
DIGITS, LONG = 10, 6                    # a string; after it the token of its task, which are 10, 11 and 12
TASK_STEPS, TASK_BATCH, TASK_RATE = 1100, 64, 2e-3
VOCABULARY, WINDOW = 512, 64
STEPS, BATCH, RATE = 600, 24, 4e-3
PROMPT = "KING.\nWhat"

GATES = (
    *(Gate(f"{task}: strings without a mistake", at_least=0.9) for task in TASKS),
    Gate("bits per byte of new text", at_most=2.35),
    Gate("saved against bz2, bits per byte", at_least=0.5),
    Gate("saved against counts after 3 bytes", at_least=0.08),
    Gate("change before a changed token", at_most=1e-4),
    Gate("entropy of attention / uniform", at_most=0.9),
)


def strings(rng, n, shuffled=False):
    """Rows of a string, its task and the answer, int64 (n, 2 LONG + 1); shuffled: the answers of others."""
    x, task = rng.integers(0, DIGITS, (n, LONG)), rng.integers(0, len(TASKS), n)
    answers = np.choose(task[:, None], [solve(x) for solve in TASKS.values()])
    return np.concatenate([x, DIGITS + task[:, None], rng.permutation(answers) if shuffled else answers], axis=1)


def train(model, batches, steps, rate, scored, tell):
    """AdamW on rows of tokens: each is to be told from those before it, from index `scored` on."""
    with tt.no_grad():                  # loads autograd, before anything is to be recorded
        optimizer = tt.AdamW(model.parameters(), lr=rate, weight_decay=0.1)
    schedule = tt.CosineWithWarmup(optimizer, steps // 20, max(steps, 1))
    losses = []
    for step in range(steps):
        rows = next(batches)
        logits = model(tt.Tensor(rows[:, :-1]))[:, scored - 1:]
        loss = tt.cross_entropy(logits.reshape(-1, model.vocabulary), tt.Tensor(rows[:, scored:].reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        tt.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        tell(step + 1)
    return losses


def logits_of(model, rows):
    with tt.no_grad():
        return model(tt.Tensor(rows)).numpy()


def solved(model, rows):
    """The share of strings whose answer is right to the last digit, by task; the model goes on from its own digits."""
    ids = rows[:, :LONG + 1]
    for _ in range(LONG):
        ids = np.concatenate([ids, logits_of(model, ids)[:, -1:].argmax(axis=-1)], axis=1)
    right = (ids == rows).all(axis=1)
    return {name: float(right[rows[:, LONG] == DIGITS + k].mean()) for k, name in enumerate(TASKS)}


def leak(model, rows, at):
    """The largest change of a logit before index `at` when all tokens from there on are others."""
    changed = rows.copy()
    changed[:, at:] = (changed[:, at:] + 1) % model.vocabulary
    return float(abs(logits_of(model, changed)[:, :at] - logits_of(model, rows)[:, :at]).max())


def entropies(maps):
    """The mean entropy of the rows of each head's weights (H, T, T), in nats -> array (H,)."""
    return -(maps * np.log(np.maximum(maps, 1e-30))).sum(axis=-1).mean(axis=-1)


def plays():
    """Nine tenths of each play, and the last tenths -> two texts."""
    texts = [datasets.text(name) for name in datasets.PLAYS]
    return "".join(t[:len(t) * 9 // 10] for t in texts), "".join(t[len(t) * 9 // 10:] for t in texts)


def bits(model, tokens):
    """What a model needs for each token but the first, in bits -> array. In NumPy: what is tested does not measure itself.

    Windows overlap by half, so that every token but those of the first window has half a window or more before it.
    """
    found, half = [], WINDOW // 2
    starts = range(0, len(tokens) - 1, half)
    for some in (starts[k:k + 32] for k in range(0, len(starts), 32)):
        rows = [tokens[s:s + WINDOW + 1] for s in some]
        padded = np.array([np.pad(row, (0, WINDOW + 1 - len(row))) for row in rows])
        z = logits_of(model, padded[:, :-1]).astype(float)
        z -= z.max(axis=-1, keepdims=True)
        lost = np.log2(np.exp(z).sum(axis=-1)) - np.take_along_axis(z, padded[:, 1:, None], -1)[..., 0] / math.log(2)
        found += [cost[half if start else 0:len(row) - 1] for cost, row, start in zip(lost, rows, some, strict=True)]
    return np.concatenate(found)


def counted(learn, test, order):
    """Bits per byte of a model that counts what follows the last `order` bytes, 0.1 added to each count."""
    learn, test = learn.encode(), test.encode()
    longer, shorter = (Counter(learn[i:i + n] for i in range(len(learn) - order)) for n in (order + 1, order))
    kinds = len(set(learn))
    return -sum(math.log2((longer[test[i:i + order + 1]] + 0.1) / (shorter[test[i:i + order]] + 0.1 * kinds))
                for i in range(len(test) - order)) / (len(test) - order)


def compressed(learn, test):
    """Bits per byte of compressors: bz2 and gzip on the test text alone, and xz, what the text adds to the other."""
    a, b = learn.encode(), test.encode()
    return {"gzip": 8 * len(gzip.compress(b, 9)) / len(b), "bz2": 8 * len(bz2.compress(b)) / len(b),
            "bz2, after the plays": 8 * (len(bz2.compress(a + b)) - len(bz2.compress(a))) / len(b),
            "xz, after the plays": 8 * (len(lzma.compress(a + b)) - len(lzma.compress(a))) / len(b)}


def run(seed=0, *, epochs=1, shuffled=False, progress=lambda done, total, text: None):
    """epochs: 0 leaves the models untrained. shuffled: learn from answers of other strings, and from tokens in another order. -> Run"""
    rng = np.random.default_rng(seed)
    task_steps, steps = epochs * TASK_STEPS, epochs * STEPS
    solver = tt.GPT(DIGITS + len(TASKS), 64, 2, 4, length=2 * LONG, rng=rng)
    batches = (strings(rng, TASK_BATCH, shuffled) for _ in range(task_steps))
    train(solver, batches, task_steps, TASK_RATE, LONG + 1, lambda n: progress(n, task_steps + steps, "copy, reverse, sort"))
    right = solved(solver, strings(rng, 600))

    learn, test = plays()
    tokenizer = tt.BPETokenizer.train(learn, VOCABULARY)
    known, new = np.array(tokenizer.encode(learn)), np.array(tokenizer.encode(test))
    known = rng.permutation(known) if shuffled else known
    model = tt.GPT(VOCABULARY, 96, 2, 4, length=WINDOW, positions="rotary", rng=rng)
    batches = (np.stack([known[i:i + WINDOW + 1] for i in rng.integers(0, len(known) - WINDOW, BATCH)]) for _ in range(steps))
    losses = train(model, batches, steps, RATE, 1, lambda n: progress(task_steps + n, task_steps + steps, "plays"))
    spent = bits(model, new)
    needed = float(spent.sum() / len(tokenizer.decode(new[1:].tolist()).encode()))
    others = compressed(learn, test)
    counts = {order: counted(learn, test, order) for order in range(4)}
    some = new[None, :WINDOW]
    maps = np.concatenate(model.attention_maps(tt.Tensor(some)), axis=1)[0]
    prompt = np.array([tokenizer.encode(PROMPT)])
    sample = tokenizer.decode(tt.generate(model, prompt, 60, temperature=0.8, rng=np.random.default_rng(seed)).numpy()[0].tolist())
    measured = {
        **{f"{task}: strings without a mistake": right[task] for task in TASKS},
        "bits per byte of new text": needed,
        "saved against bz2, bits per byte": others["bz2"] - needed,
        "saved against counts after 3 bytes": counts[3] - needed,
        "change before a changed token": leak(model, some, WINDOW // 2),
        "entropy of attention / uniform": float(entropies(maps).min() / np.log(np.arange(1, WINDOW + 1)).mean()),
        **{f"bits per byte, {name}": value for name, value in others.items()},
        **{f"bits per byte, counts after {order} bytes": value for order, value in counts.items()},
        "bytes of new text": len(test.encode()),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Run(measured, {"sample": sample, "losses": losses, "others": others, "counts": counts, "needed": needed})


def draw(figure, run):
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    bars = {f"counts after {order} byte{'s' * (order != 1)}": value for order, value in run.shown["counts"].items()}
    bars |= run.shown["others"] | {"transformer": run.shown["needed"]}
    colours = ["tab:orange" if name == "transformer" else "tab:gray" if "counts" in name else "tab:blue" for name in bars]
    left.barh(range(len(bars)), bars.values(), color=colours)
    for k, value in enumerate(bars.values()):
        left.text(value + 0.05, k, f"{value:.2f}", va="center")
    left.set_yticks(range(len(bars)), bars)
    left.invert_yaxis()
    left.set(title="bits per byte of new text", xlim=(0, 5.4))
    lines = [part for line in run.shown["sample"].split("\n") for part in textwrap.wrap(line, 38) or [""]]
    right.text(0, 1, "\n".join(lines[:16]), va="top", family="monospace", fontsize=7, parse_math=False)
    right.set(title=f"what it writes after {PROMPT.split()[0]} {PROMPT.split()[1]}")
    right.axis("off")


if __name__ == "__main__":
    main(globals())
