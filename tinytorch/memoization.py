# Exported from modules/tinytorch/18_memoization by `mlsys build`; edit the module's source, not this file.

"""Memoization: what a language model has computed once, it keeps.

    generate_cached(model, ids, count)       as transformers.generate, each position read once
    KVCache, caches_for(model)               keys and values of a block, in memory that doubles
    PagedCache, start, paged_step            many texts in one pool of pages, with shared prefixes and copy-on-write
    speculate(model, draft, ids, count)      a small model guesses, the large one decides
    pass_flop, cache_bytes                   what a pass costs, and what a cache takes
    TensorParallel(model, ring), tensor_shard    a model and its cache cut over processes

The same means: what is kept is kept bit for bit. Logits of a pass over few positions differ from those of a pass over
many by rounding, as products of other shapes add up in another order; where one kernel gets the same numbers in the same
order, results are equal to the last bit.

Errors, each one line: OutOfPages (nothing has changed), ShapeError, DTypeError, ValueError.
"""

import contextlib
import heapq
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from tinytorch.attention import attend, merge_heads, split_heads
from tinytorch.autograd import no_grad
from tinytorch.backend import kernel
from tinytorch.layers import default_rng
from tinytorch.tensor import DTypeError, ShapeError, Tensor, float32
from tinytorch.transformers import ACTIVATIONS, sampling_weights


class OutOfPages(RuntimeError):
    """A pool has fewer free pages than are wanted; nothing was taken."""


@contextlib.contextmanager
def evaluating(model):
    """The model in evaluation and without graphs; afterwards in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            yield model
    finally:
        model.train(was_training)


def pass_flop(width, depth, heads, kv_heads, hidden, vocabulary, new, total):
    """FLOP of products when the last `new` of `total` positions are read by a causal GPT -> int.

    Raises ValueError if new is more than total.
    """
    if new > total:
        raise ValueError(f"the new positions are among all: {new} new of {total} in total")
    weights = depth * (width * (width + 2 * kv_heads * (width // heads)) + width * width + 2 * width * hidden) + width * vocabulary
    meetings = new * (total - new) + new * (new + 1) // 2
    return 2 * weights * new + 4 * width * depth * meetings


def cache_bytes(depth, kv_heads, head_width, positions, itemsize=4, batch=1):
    """Bytes of the keys and values of so many positions in a batch of texts -> int."""
    return 2 * depth * kv_heads * head_width * positions * itemsize * batch


class KVCache:
    """Keys and values of one block for a batch of texts: extend(k, v) -> all of them, truncate(length) to go back.

    keys, values: buffers (B, G, capacity, D) or None; the first `length` positions are in use. room: the first capacity.
    What extend returned stays valid until truncate and another extend.
    """

    def __init__(self, room=16):
        if room < 1:
            raise ValueError(f"a cache has room for one position at least, got {room}")
        self.room, self.length, self.keys, self.values = room, 0, None, None

    def extend(self, k, v):
        """Keep k and v, tensors (B, G, T, D), behind what is there -> tensors (B, G, length, D) of all of it, not copied.

        Raises ShapeError or DTypeError, with both, where they do not fit to each other or to what is there.
        """
        k, v = k.numpy(), v.numpy()
        held = (k if self.keys is None else self.keys)
        if k.ndim != 4 or k.shape != v.shape or k.shape[:2] != held.shape[:2] or k.shape[3] != held.shape[3]:
            raise ShapeError(f"keys {k.shape} and values {v.shape} do not fit, to each other and to buffers {held.shape}: (B, G, T, D)")
        if not k.dtype == v.dtype == held.dtype:
            raise DTypeError(f"keys of {k.dtype}, values of {v.dtype} and buffers of {held.dtype}: wants one dtype")
        end, capacity = self.length + k.shape[2], self.room if self.keys is None else self.keys.shape[2]
        while capacity < end:
            capacity *= 2
        if self.keys is None or capacity > self.keys.shape[2]:
            for name in ("keys", "values"):
                old, new = getattr(self, name), np.empty((*k.shape[:2], capacity, k.shape[3]), k.dtype)
                if old is not None:
                    new[:, :, :self.length] = old[:, :, :self.length]
                setattr(self, name, new)
        self.keys[:, :, self.length:end], self.values[:, :, self.length:end] = k, v
        self.length = end
        return Tensor.from_numpy(self.keys)[:, :, :end], Tensor.from_numpy(self.values)[:, :, :end]

    def truncate(self, length):
        """Forget the positions from length on. Raises ValueError, with both, for more than there are, or less than 0."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} positions of {self.length}")
        self.length = length

    @property
    def nbytes(self):
        """Bytes of the buffers, with the room that is not in use."""
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes


def caches_for(model, room=16):
    """An empty KVCache for each block of a model."""
    return [KVCache(room) for _ in model.blocks]


def generate_cached(model, ids, count, temperature=1.0, top_k=None, top_p=None, rng=None):
    """Continue texts by count tokens: ids (B, T), integers -> int64 tensor (B, T + count); each position is read once.

    As transformers.generate, up to rounding of the logits. Raises ValueError, with both, if T + count - 1 positions, those
    that have to be read, are more than model.length.
    """
    ids, rng = np.asarray(ids, np.int64), rng or default_rng()
    if count and ids.shape[1] + count - 1 > model.length:
        raise ValueError(f"{ids.shape[1]} tokens and {count} more do not fit: the model reads up to {model.length}")
    with evaluating(model):
        caches, read = caches_for(model), 0
        for _ in range(count):
            logits = model(Tensor(ids[:, read:]), caches=caches, offset=read).numpy()[:, -1]
            read = ids.shape[1]
            drawn = [rng.choice(len(w), p=w) for w in sampling_weights(logits, temperature, top_k, top_p)]
            ids = np.concatenate([ids, np.array(drawn, np.int64).reshape(-1, 1)], axis=1)
    return Tensor(ids)


class PagePool:
    """Pages by number, with how many users each has: take() -> a page, share(page), drop(page).

    uses: list of counts, one a page; free: how many pages have no user.
    """

    def __init__(self, pages):
        self.uses, self.heap = [0] * pages, list(range(pages))

    @property
    def free(self):
        return self.uses.count(0)

    def take(self):
        """The free page of the lowest number, now with one user. Raises OutOfPages, with the number of pages, if none is."""
        if not self.heap:
            raise OutOfPages(f"all {len(self.uses)} pages are in use")
        page = heapq.heappop(self.heap)
        self.uses[page] = 1
        return page

    def share(self, page):
        """One user more. Raises ValueError, with the page, if it has none."""
        if not self.uses[page]:
            raise ValueError(f"page {page} is free: take() gives a page, share() one that is in use")
        self.uses[page] += 1

    def drop(self, page):
        """One user less; without users the page is free. Raises ValueError, with the page, if it is free already."""
        if not self.uses[page]:
            raise ValueError(f"page {page} is free already")
        self.uses[page] -= 1
        if not self.uses[page]:
            heapq.heappush(self.heap, page)


def page_slots(table, page, first, last):
    """The pages, and the slots in them, of positions first to last (excluded): table, a list, pages of size page -> two int64 arrays."""
    positions = np.arange(first, last)
    return np.asarray(table, np.int64)[positions // page], positions % page


def extend_table(table, length, count, page, pool):
    """Make a text's pages ready for count positions behind its first length -> list of (from, to) pages to be copied.

    table, a list, is changed; pool has take(), drop(page), uses and free, as PagePool. Raises OutOfPages, with the numbers of
    pages that are wanted and free, and then changes nothing.
    """
    if not count:
        return []
    last = -(-(length + count) // page)
    shared = [n for n in range(length // page, min(last, len(table))) if pool.uses[table[n]] > 1]
    wanted = len(shared) + max(last - len(table), 0)
    if wanted > pool.free:
        raise OutOfPages(f"{count} more positions want {wanted} pages, and {pool.free} of {len(pool.uses)} are free")
    copies = []
    for n in shared:
        fresh = pool.take()
        if n * page < length:
            copies.append((table[n], fresh))
        pool.drop(table[n])
        table[n] = fresh
    while len(table) < last:
        table.append(pool.take())
    return copies


class PrefixIndex:
    """Whole pages by the tokens that they hold and the page before them: insert(tokens, table), match(tokens) -> pages.

    pages: dict (page before or None, tuple of tokens) -> page, older entries first.
    """

    def __init__(self, page):
        self.page, self.pages = page, {}

    def insert(self, tokens, table):
        """Enter the whole pages of a text, whose pages are table -> those that are new in the index."""
        before, new = None, []
        for n in range(len(tokens) // self.page):
            link = before, tuple(tokens[n * self.page:(n + 1) * self.page])
            if link not in self.pages:
                self.pages[link] = table[n]
                new.append(table[n])
            before = self.pages[link]
        return new

    def match(self, tokens):
        """The pages that a text can begin with; they hold fewer tokens than it has -> list."""
        found = []
        for n in range((len(tokens) - 1) // self.page):
            page = self.pages.get((found[-1] if found else None, tuple(tokens[n * self.page:(n + 1) * self.page])))
            if page is None:
                break
            found.append(page)
        return found

    def forget(self, pool, count):
        """Drop up to count pages that only the index uses and no entry goes on from, the latest first -> how many."""
        dropped, follow = 0, Counter(before for before, _ in self.pages)
        for link, page in reversed(list(self.pages.items())):
            if dropped < count and pool.uses[page] == 1 and not follow[page]:
                del self.pages[link]
                follow[link[0]] -= 1
                pool.drop(page)
                dropped += 1
        return dropped


class PagedCache:
    """Keys and values of many texts of one model in pages; beginnings that texts have in common are kept once.

    open(tokens) -> number of a text, fork(text) -> another, truncate(text, length), close(text); start and paged_step read.
    tables, lengths: dicts by text. keys, values: arrays (depth, pages, page, G, D). Raises OutOfPages, and then no text has
    changed; KeyError for a text that is not open.
    """

    def __init__(self, model, pages, page=16, dtype=float32):
        attention = model.blocks[0].attention
        width = attention.out.weight.shape[0] // attention.heads
        self.keys, self.values = np.zeros((2, len(model.blocks), pages, page, attention.kv_heads, width), dtype)
        self.page, self.pool, self.index = page, PagePool(pages), PrefixIndex(page)
        self.tables, self.lengths, self.opened = {}, {}, 0

    def open(self, tokens=()):
        """A new text that begins with the pages that the index has for these tokens; lengths[text] says how many they hold."""
        return self._add(self.index.match(list(tokens)), None)

    def fork(self, text):
        """A new text with the same pages."""
        return self._add(self.tables[text], self.lengths[text])

    def _add(self, table, length):
        for page in table:
            self.pool.share(page)
        text, self.opened = self.opened, self.opened + 1
        self.tables[text], self.lengths[text] = list(table), len(table) * self.page if length is None else length
        return text

    def reserve(self, text, count):
        """Make pages ready for count more positions; those that only the index uses are given up if need be."""
        table, length = self.tables[text], self.lengths[text]
        try:
            copies = extend_table(table, length, count, self.page, self.pool)
        except OutOfPages:
            self.index.forget(self.pool, -(-count // self.page) + 1)
            copies = extend_table(table, length, count, self.page, self.pool)
        for old, new in copies:
            self.keys[:, new], self.values[:, new] = self.keys[:, old], self.values[:, old]

    def truncate(self, text, length):
        """Forget the positions of a text from length on. Raises ValueError for more than it has, or less than 0."""
        if not 0 <= length <= self.lengths[text]:
            raise ValueError(f"cannot keep {length} positions of {self.lengths[text]}")
        table, self.lengths[text] = self.tables[text], length
        while len(table) > -(-length // self.page):
            self.pool.drop(table.pop())

    def close(self, text):
        """Drop the pages of a text; whole ones that the index knows stay until their place is wanted."""
        self.truncate(text, 0)
        del self.tables[text], self.lengths[text]

    def remember(self, text, tokens):
        """Enter the whole pages of a text, which begins with these tokens, in the index."""
        for page in self.index.insert(list(tokens)[:self.lengths[text]], self.tables[text]):
            self.pool.share(page)

    def leaks(self):
        """Pages whose count is not the number of tables and entries of the index that hold them; none, unless there is a fault."""
        users = Counter(page for table in (*self.tables.values(), self.index.pages.values()) for page in table)
        return [page for page, uses in enumerate(self.pool.uses) if uses != users[page]]


class PageReader:
    """One block's part of one text in a PagedCache, as a cache for attention: new positions go to pages, all come back joined."""

    def __init__(self, cache, block, text):
        self.cache, self.block, self.text = cache, block, text

    def extend(self, k, v):
        cache, table, first = self.cache, self.cache.tables[self.text], self.cache.lengths[self.text]
        last = first + k.shape[2]
        new, every = (page_slots(table, cache.page, at, last) for at in (first, 0))
        joined = []
        for store, part in ((cache.keys[self.block], k), (cache.values[self.block], v)):
            store[new] = part.numpy()[0].swapaxes(0, 1)
            joined.append(Tensor(store[every].swapaxes(0, 1)[None]))
        return tuple(joined)


def start(model, cache, tokens):
    """Open a text with these tokens and read those that no page holds -> (its number, logits (V,) for the next token).

    Raises OutOfPages if they do not fit; no text is opened then.
    """
    text = cache.open(tokens)
    held = cache.lengths[text]
    try:
        cache.reserve(text, len(tokens) - held)
    except OutOfPages:
        cache.close(text)
        raise
    with evaluating(model):
        readers = [PageReader(cache, block, text) for block in range(len(model.blocks))]
        logits = model(Tensor(np.asarray(tokens, np.int64)[None, held:]), caches=readers, offset=held).numpy()[0, -1]
    cache.lengths[text] = len(tokens)
    cache.remember(text, tokens)
    return text, logits


def paged_step(model, cache, texts, tokens):
    """Read one token more in each of some texts, whatever their lengths -> logits (B, V) for the next ones.

    Raises ValueError for a text that stands there twice, OutOfPages if there is no page for one of them.
    """
    if len(set(texts)) < len(texts):
        raise ValueError(f"each text reads one token a step, got texts {list(texts)}")
    for text in texts:
        cache.reserve(text, 1)
    offsets = [cache.lengths[text] for text in texts]
    pages, slots = (np.array(part) for part in zip(*((cache.tables[t][n // cache.page], n % cache.page)
                                                     for t, n in zip(texts, offsets, strict=True)), strict=True))
    table = np.zeros((len(texts), max(len(cache.tables[text]) for text in texts)), np.int64)
    for row, text in zip(table, texts, strict=True):
        row[:len(cache.tables[text])] = cache.tables[text]
    lengths = np.array(offsets, np.int64) + 1
    with evaluating(model):
        x = Tensor(np.concatenate([model.embed(Tensor(np.array([[t]])), n).numpy() for t, n in zip(tokens, offsets, strict=True)]))
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            attention = block.attention
            q, k, v = split_heads(attention.qkv(block.norm1(x)), attention.heads, attention.kv_heads)
            if attention.rotary is not None:
                q, k = (np.concatenate([attention.rotary(part[b:b + 1], n).numpy() for b, n in enumerate(offsets)]) for part in (q, k))
            q, k, v = (np.asarray(part)[:, :, 0] for part in (q, k, v))
            keys[pages, slots], values[pages, slots] = k, v
            q = np.ascontiguousarray(q)
            mixed = np.empty_like(q)
            kernel("attention_decode")(q, keys, values, lengths, mixed, table)
            x = x + attention.out(merge_heads(Tensor.from_numpy(mixed[:, :, None])))
            x = x + block.mlp(block.norm2(x))
        logits = model.head(model.norm(x)).numpy()[:, 0]
    for text in texts:
        cache.lengths[text] += 1
    return logits


def acceptance(p, q):
    """The probability that a token drawn with weights q is kept for weights p: arrays (..., V) -> (...)."""
    return np.minimum(p, q).sum(-1)


def residual(p, q):
    """The weights of the token that takes the place of one that was not kept: arrays (V,), adding up to 1 -> (V,), too."""
    above = np.maximum(p - q, 0)
    total = above.sum()
    return above / total if total > 0 else p


def verify(target, draft, drafted, rng):
    """What stays of K drafted tokens, and one token more: weights target (K + 1, V), draft (K, V), drafted (K,) -> list of ints.

    The tokens are distributed as if drawn with the target's weights. Raises ShapeError for other numbers of rows.
    Source: Leviathan et al. 2023.
    """
    if not len(target) - 1 == len(draft) == len(drafted):
        raise ShapeError(f"K tokens have K rows of the draft and K + 1 of the target, got {len(drafted)}, {len(draft)} and {len(target)}")
    kept = []
    for p, q, token in zip(target, draft, drafted, strict=False):
        if rng.random() * q[token] >= p[token]:
            return [*kept, int(rng.choice(len(p), p=residual(p, q)))]
        kept.append(int(token))
    return [*kept, int(rng.choice(len(target[-1]), p=target[-1]))]


def expected_tokens(alpha, ahead):
    """Tokens of a round on average if each of `ahead` guesses is kept with probability alpha -> float."""
    return float(sum(alpha ** k for k in range(ahead + 1)))


def speculative_speedup(alpha, ahead, cost):
    """How many times faster than the target alone, if a draft's step takes cost times as long as a target's pass -> float."""
    return float(sum(alpha ** k for k in range(ahead + 1))) / (1 + ahead * cost)


def chi_square_tail(counts, weights):
    """The probability that draws with these weights give counts at least as far from them: (V,) integers, (V,) -> float.

    Cells are put together, the rarest first, until 5 counts are expected in each; a count where the weight is 0 gives 0.0.
    The tail is that of Wilson and Hilferty 1931, a cube root that is nearly normal.
    """
    counts, weights = np.asarray(counts, float), np.asarray(weights, float)
    if (counts[weights == 0] > 0).any():
        return 0.0
    wanted = counts.sum() * weights / weights.sum()
    cells, seen, due = [], 0.0, 0.0
    for k in np.argsort(wanted, kind="stable"):
        seen, due = seen + counts[k], due + wanted[k]
        if due >= 5:
            cells.append([seen, due])
            seen, due = 0.0, 0.0
    if cells:
        cells[-1] = [cells[-1][0] + seen, cells[-1][1] + due]
    distance, freedom = sum((seen - due) ** 2 / due for seen, due in cells), len(cells) - 1
    if freedom < 1:
        return 1.0
    z = ((distance / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))


class Speculation(NamedTuple):
    """A text (1, T + count), an int64 tensor; rounds, one pass of the target each; guesses that were kept, and refused.

    Guesses behind a refused one were not judged, and count as neither.
    """

    ids: Tensor
    rounds: int
    kept: int
    refused: int


def speculate(model, draft, ids, count, ahead=4, temperature=1.0, rng=None):
    """Continue a text by count tokens with a draft model: ids (1, T) -> Speculation, distributed as generate's texts.

    Raises ValueError, with both, for models of different vocabularies, and if T + count - 1 is more than a model's length;
    ShapeError for more than one text. Source: Leviathan et al. 2023; Chen et al. 2023.
    """
    text, rng = np.asarray(ids, np.int64), rng or default_rng()
    if text.ndim != 2 or len(text) != 1:
        raise ShapeError(f"speculate writes one text, ids (1, T), got shape {text.shape}")
    if model.vocabulary != draft.vocabulary:
        raise ValueError(f"both models have one vocabulary, got {model.vocabulary} and {draft.vocabulary}")
    text, end = text[0].tolist(), text.shape[1] + count
    if count and end - 1 > min(model.length, draft.length):
        raise ValueError(f"{end - count} tokens and {count} more do not fit: the models read up to {min(model.length, draft.length)}")
    rounds = kept = refused = 0
    theirs, ours = caches_for(model), caches_for(draft)

    def weights(reader, caches, text):
        read = caches[0].length
        logits = reader(Tensor(np.array([text[read:]])), caches=caches, offset=read).numpy()[0]
        return sampling_weights(logits, temperature)

    with evaluating(model), evaluating(draft):
        while len(text) < end:
            drafted, q = [], np.zeros((0, model.vocabulary))
            for _ in range(min(ahead, end - len(text) - 1)):
                row = weights(draft, ours, text + drafted)[-1]
                drafted.append(int(rng.choice(len(row), p=row)))
                q = np.concatenate([q, row[None]])
            p = weights(model, theirs, text + drafted)[-len(drafted) - 1:]
            new = verify(p, q, np.array(drafted, np.int64), rng)
            rounds, kept, refused = rounds + 1, kept + len(new) - 1, refused + (len(new) <= len(drafted))
            text += new
            for cache in (*theirs, *ours):
                cache.truncate(min(cache.length, len(text) - 1))
    return Speculation(Tensor(np.array([text])), rounds, kept, refused)


def tensor_shard(weights, heads, kv_heads, rank, world):
    """A rank's part of the matrices and biases of a block -> dict of arrays under the same names.

    weights: {"qkv.weight": ((H + 2 G) D, W), "out.weight": (W, H D), "up.weight": (M, W), "down.weight": (W, M)}, and for each its
    bias. Raises ValueError, with both numbers, where world does not divide heads, kv_heads or M. Source: Shoeybi et al. 2019.
    """
    hidden = len(weights["up.weight"])
    for what, n in (("heads", heads), ("heads of keys and values", kv_heads), ("hidden units", hidden)):
        if n % world:
            raise ValueError(f"{n} {what} cannot be cut into {world} equal parts")
    width = len(weights["qkv.weight"]) // (heads + 2 * kv_heads)

    def part(n, begin=0):
        return np.arange(begin + n * rank // world, begin + n * (rank + 1) // world)

    q, kv = heads * width, kv_heads * width
    columns, units = part(q), part(hidden)
    rows = np.concatenate([columns, part(kv, q), part(kv, q + kv)])
    first = rank == 0
    return {
        "qkv.weight": weights["qkv.weight"][rows], "qkv.bias": weights["qkv.bias"][rows],
        "out.weight": weights["out.weight"][:, columns], "out.bias": weights["out.bias"] * first,
        "up.weight": weights["up.weight"][units], "up.bias": weights["up.bias"][units],
        "down.weight": weights["down.weight"][:, units], "down.bias": weights["down.bias"] * first,
    }


class TensorParallel:
    """One rank's part of a GPT: called as the model, it gives the model's logits, up to rounding and with the same bits at every rank.

    ring: has rank, world and all_reduce(array (n,)), as training.Ring; all ranks call with the same ids. Caches hold the rank's heads.
    Raises ValueError for MLPs with a gate, for layers without bias, and as tensor_shard.
    """

    def __init__(self, model, ring):
        if any(block.mlp.gate is not None or block.mlp.up.bias is None for block in model.blocks):
            raise ValueError("a model is cut whose MLPs have no gate and whose layers have biases: activation='gelu', bias=True")
        self.model, self.ring, self.blocks, self.length, self.training = model, ring, model.blocks, model.length, model.training
        attention = model.blocks[0].attention
        self.heads, self.kv_heads = attention.heads // ring.world, attention.kv_heads // ring.world
        self.shards = []
        for block in model.blocks:
            layers = {"qkv": block.attention.qkv, "out": block.attention.out, "up": block.mlp.up, "down": block.mlp.down}
            whole = {f"{name}.{kind}": getattr(layer, kind).numpy() for name, layer in layers.items() for kind in ("weight", "bias")}
            part = tensor_shard(whole, attention.heads, attention.kv_heads, ring.rank, ring.world)
            self.shards.append({name: Tensor(np.ascontiguousarray(array)) for name, array in part.items()})

    def train(self, mode=True):
        self.training = mode
        self.model.train(mode)
        return self

    def eval(self):
        return self.train(False)

    @property
    def nbytes(self):
        """Bytes of the weights that are cut, at this rank."""
        return sum(tensor.nbytes for part in self.shards for tensor in part.values())

    def _sum(self, x):
        return Tensor(self.ring.all_reduce(np.ascontiguousarray(x.numpy()).reshape(-1)).reshape(x.shape))

    def __call__(self, ids, mask=None, caches=None, offset=0):
        x = self.model.embed(ids, offset)
        for k, (block, part) in enumerate(zip(self.blocks, self.shards, strict=True)):
            packed = block.norm1(x) @ part["qkv.weight"].transpose(0, 1) + part["qkv.bias"]
            q, keys, values = split_heads(packed, self.heads, self.kv_heads)
            if block.attention.rotary is not None:
                q, keys = block.attention.rotary(q, offset), block.attention.rotary(keys, offset)
            if caches is not None:
                keys, values = caches[k].extend(keys, values)
            seen = merge_heads(attend(q, keys, values, mask, True))
            x = x + self._sum(seen @ part["out.weight"].transpose(0, 1) + part["out.bias"])
            hidden = ACTIVATIONS[block.mlp.activation](block.norm2(x) @ part["up.weight"].transpose(0, 1) + part["up.bias"])
            x = x + self._sum(hidden @ part["down.weight"].transpose(0, 1) + part["down.bias"])
        return self.model.head(self.model.norm(x))
