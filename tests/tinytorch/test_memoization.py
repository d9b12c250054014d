"""Memoization: caches against the uncached model, pages against lists, conservation, and speculation against the exact joint."""

import itertools
import math
import multiprocessing
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch import GPT, DTypeError, Profile, ShapeError, Tensor, generate, memoization, no_grad, sampling_weights
from tinytorch.backend import kernel
from tinytorch.memoization import (
    KVCache,
    OutOfPages,
    PagedCache,
    PagePool,
    PrefixIndex,
    TensorParallel,
    acceptance,
    cache_bytes,
    caches_for,
    chi_square_tail,
    evaluating,
    expected_tokens,
    extend_table,
    generate_cached,
    page_slots,
    paged_step,
    pass_flop,
    residual,
    speculate,
    speculative_speedup,
    start,
    tensor_shard,
    verify,
)
from tinytorch.training import run_ranks

KINDS = {"gpt2": {}, "llama": {"positions": "rotary", "norm": "rms", "activation": "swiglu", "bias": False, "kv_heads": 2},
         "waves": {"positions": "sinusoidal", "tied": False, "kv_heads": 1}}
kinds = pytest.mark.parametrize("kind", KINDS)


def small(kind="gpt2", seed=3, **options):
    return GPT(11, 16, 2, 4, **({"length": 40, "rng": np.random.default_rng(seed)} | KINDS[kind] | options)).eval()


def ids(T=7, B=2, seed=0):
    return np.random.default_rng(seed).integers(0, 11, (B, T))


@kinds
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_with_a_cache_are_those_of_the_whole_text(backend, kind, dtype):
    model, text, caches, at, parts = small(kind, dtype=dtype), ids(20), None, 0, []
    caches = caches_for(model, 2)
    with no_grad():
        whole = model(Tensor(text)).numpy()
        for n in (5, 1, 1, 3, 1, 9):
            parts.append(model(Tensor(text[:, at:at + n]), caches=caches, offset=at).numpy())
            at += n
    loose = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, **loose)
    assert all(cache.length == 20 and cache.keys.shape[2] == 32 and cache.keys.dtype == dtype for cache in caches)


@kinds
@pytest.mark.parametrize("knobs", [{"temperature": 0}, {}, {"temperature": 0.7, "top_k": 4, "top_p": 0.9}])
def test_texts_are_those_of_generate(backend, kind, knobs):
    model = small(kind).train()
    texts = [write(model, ids(5), 12, rng=np.random.default_rng(1), **knobs).numpy() for write in (generate, generate_cached)]
    np.testing.assert_array_equal(*texts)
    assert model.training and texts[1].shape == (2, 17)


def test_what_is_kept_stays_the_same_to_the_last_bit(backend):
    model, caches = small("llama"), caches_for(small("llama"), 1)
    with evaluating(model):
        model(Tensor(ids(9)), caches=caches)
        before = [cache.keys[:, :, :9].tobytes() + cache.values[:, :, :9].tobytes() for cache in caches]
        for t in range(9, 20):
            model(Tensor(ids(1, seed=t)), caches=caches, offset=t)
    assert [cache.keys[:, :, :9].tobytes() + cache.values[:, :, :9].tobytes() for cache in caches] == before


def test_going_back_and_on_gives_the_same_bits(backend):
    model, caches, text = small(), caches_for(small()), Tensor(ids(8))
    with evaluating(model):
        model(text[:, :6], caches=caches)
        first = model(text[:, 6:], caches=caches, offset=6).numpy()
        for cache in caches:
            cache.truncate(6)
        np.testing.assert_array_equal(model(text[:, 6:], caches=caches, offset=6).numpy(), first)


def test_as_long_as_the_model_reads_and_no_longer():
    model = small(length=8)
    assert generate_cached(model, ids(5), 4, 0).numpy().tolist() == generate(model, ids(5), 4, 0).numpy().tolist()
    assert generate_cached(model, ids(12), 0).shape == (2, 12)
    with pytest.raises(ValueError, match="^5 tokens and 5 more do not fit: the model reads up to 8$"):
        generate_cached(model, ids(5), 5)


def test_a_cache_refuses_what_does_not_fit_and_keeps_what_it_has():
    cache, k = KVCache(2), Tensor(np.ones((1, 2, 3, 4), "float32"))
    cache.extend(k, k)
    for other, error in ((np.ones((2, 2, 1, 4), "float32"), ShapeError), (np.ones((1, 2, 1, 5), "float32"), ShapeError),
                         (np.ones((1, 2, 1, 4)), DTypeError)):
        with pytest.raises(error, match="[^\n]+"):
            cache.extend(Tensor(other), Tensor(other))
    with pytest.raises(ShapeError):
        cache.extend(k, Tensor(np.ones((1, 2, 1, 4), "float32")))
    assert (cache.length, cache.keys.shape) == (3, (1, 2, 4, 4))
    with pytest.raises(ValueError, match="cannot keep 4 positions of 3"):
        cache.truncate(4)
    with pytest.raises(ValueError, match="room for one position at least, got 0"):
        KVCache(0)


def test_positions_are_moved_twice_each_at_most():
    cache, moved, one = KVCache(1), 0, Tensor(np.ones((1, 1, 1, 2)))
    for n in range(1000):
        before = cache.keys
        cache.extend(one, one)
        moved += n if cache.keys is not before else 0
    assert moved < 2 * 1000


@pytest.mark.parametrize("new, before", [(12, 0), (1, 11), (5, 7)])
def test_flop_are_those_that_a_profile_counts_and_a_loop_over_what_is_seen(new, before):
    model, caches = small(kv_heads=2), caches_for(small(kv_heads=2))
    with evaluating(model):
        if before:
            model(Tensor(ids(before, 1)), caches=caches)
        with Profile() as profile:
            model(Tensor(ids(new, 1)), caches=caches, offset=before)
    weights = sum(e.flop for e in profile.operations() if e.name in ("Linear", "MatMul"))
    seen = sum(1 for query in range(before, before + new) for key in range(before + new) if key <= query)
    assert pass_flop(16, 2, 4, 2, 64, 11, new, before + new) == weights + 2 * 4 * seen * (2 * 4 + 2 * 4)
    with pytest.raises(ValueError, match="5 new of 4 in total"):
        pass_flop(16, 2, 4, 2, 64, 11, 5, 4)


def test_flop_of_a_token_are_linear_with_a_cache_and_quadratic_without():
    cached = [pass_flop(64, 2, 4, 4, 256, 128, 1, T) for T in range(1, 9)]
    whole = [pass_flop(64, 2, 4, 4, 256, 128, T, T) for T in range(1, 9)]
    assert set(np.diff(cached, 2)) == {0} and set(np.diff(whole, 3)) == {0} and (np.diff(whole, 2) > 0).all()
    assert list(np.cumsum(cached)) == whole          # reading one by one does the work of one pass, if all is kept


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_bytes_are_those_of_the_arrays(kv_heads):
    model = small(kv_heads=kv_heads)
    caches, pages = caches_for(model, 16), PagedCache(model, 4, 8)
    with evaluating(model):
        model(Tensor(ids(16, 3)), caches=caches)
    assert sum(cache.nbytes for cache in caches) == cache_bytes(2, kv_heads, 4, 16, 4, 3)
    assert pages.keys.nbytes + pages.values.nbytes == cache_bytes(2, kv_heads, 4, 4 * 8)


def test_a_step_with_a_cache_is_faster_than_a_pass_over_the_text():
    model = GPT(64, 64, 2, 4, length=600, rng=np.random.default_rng(0)).eval()
    text, caches, times = ids(512, 1), caches_for(model, 600), ([], [])
    with evaluating(model):
        model(Tensor(text), caches=caches)

        def step():
            model(Tensor(text[:, :1]), caches=caches, offset=512)
            for cache in caches:
                cache.truncate(512)

        for _ in range(7):
            for f, seconds in ((step, times[0]), (lambda: model(Tensor(text)), times[1])):
                begin = time.thread_time()
                f()
                seconds.append(time.thread_time() - begin)
    assert np.median(times[1]) > 1.3 * np.median(times[0])       # here it is about 4


# Pages

@st.composite
def tables(draw):
    """A pool in use, the table of a text in it, its length, a size of pages, and how many positions come."""
    page = draw(st.integers(1, 4))
    pool = PagePool(draw(st.integers(0, 12)))
    table = [pool.take() for _ in range(draw(st.integers(0, pool.free)))]
    others = [pool.take() for _ in range(draw(st.integers(0, pool.free)))]
    for number in table:
        for _ in range(draw(st.integers(0, 2))):
            pool.share(number)
    return pool, table, draw(st.integers(0, len(table) * page)), page, draw(st.integers(0, 12)), others


@given(tables())
def test_a_table_grows_by_fresh_pages_and_nobody_elses_page_is_written(setting):
    pool, table, length, page, count, others = setting
    before, uses, free = list(table), list(pool.uses), pool.free
    try:
        copies = extend_table(table, length, count, page, pool)
    except OutOfPages as error:
        assert (table, pool.uses) == (before, uses) and f"{free} of {len(uses)} are free" in str(error)
        written = range(length // page, -(-(length + count) // page))
        assert sum(n >= len(before) or uses[before[n]] > 1 for n in written) > free
        return
    assert len(table) * page >= length + count and len(set(table)) == len(table) and not set(table) & set(others)
    contents = {number: f"page {n}" for n, number in enumerate(before)}
    for old, new in copies:
        contents[new] = contents[old]
    assert all(contents[table[n]] == f"page {n}" for n in range(-(-length // page)))
    if count:
        assert all(pool.uses[number] == 1 for number in table[length // page:-(-(length + count) // page)])
    changes = Counter(table)
    changes.subtract(before)
    assert [now - then for now, then in zip(pool.uses, uses, strict=True)] == [changes[p] for p in range(len(uses))]


@given(st.integers(1, 5), st.lists(st.integers(0, 99), unique=True, max_size=6), st.data())
def test_slots_are_those_that_divmod_gives(page, table, data):
    last = data.draw(st.integers(0, page * len(table)))
    first = data.draw(st.integers(0, last))
    pages, slots = page_slots(table, page, first, last)
    assert [(p, s) for p, s in zip(pages, slots, strict=True)] == [(table[n // page], n % page) for n in range(first, last)]
    assert pages.dtype == slots.dtype == np.int64


@given(st.integers(1, 3), st.lists(st.lists(st.integers(0, 1), max_size=9), max_size=6), st.lists(st.integers(0, 1), max_size=10))
def test_a_match_is_the_longest_beginning_in_whole_pages_of_any_text(page, texts, question):
    index, number, owner = PrefixIndex(page), itertools.count(), {}
    for text in texts:
        table = [next(number) for _ in range(-(-len(text) // page))]
        for p in index.insert(text, table):
            owner[p] = tuple(text[:(table.index(p) + 1) * page])
    found = index.match(question)
    longest = max((n for n in range(len(question)) if n % page == 0 and any(t[:n] == question[:n] for t in texts)), default=0)
    assert [owner[p] for p in found] == [tuple(question[:(k + 1) * page]) for k in range(longest // page)]


class Film:
    """Texts as lists of tokens, beside the cache under test; free pages are filled with NaN at once."""

    def __init__(self, kind, pages, page):
        self.model = small(kind)
        self.cache, self.texts = PagedCache(self.model, pages, page), {}

    def holds(self):
        cache = self.cache
        assert cache.leaks() == [] and set(cache.tables) == set(self.texts)
        assert cache.pool.free + sum(uses > 0 for uses in cache.pool.uses) == len(cache.pool.uses)
        assert cache.pool.free == len(cache.pool.heap)
        for text, tokens in self.texts.items():
            assert cache.lengths[text] == len(tokens) and len(cache.tables[text]) >= -(-len(tokens) // cache.page)
        free = [p for p, uses in enumerate(cache.pool.uses) if not uses]
        cache.keys[:, free] = cache.values[:, free] = np.nan

    def wanted(self, tokens):
        with evaluating(self.model):
            return self.model(Tensor(np.array([tokens]))).numpy()[0, -1]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(sorted(KINDS)), st.integers(1, 5))
def test_whatever_texts_do_each_has_the_logits_of_the_uncached_model_and_no_page_is_lost(seed, kind, page):
    source = np.random.default_rng(seed)
    film = Film(kind, int(source.integers(4, 14)), page)
    cache, texts = film.cache, film.texts
    for _ in range(14):
        film.holds()
        act = source.choice(["start", "fork", "step", "step", "step", "truncate", "close"])
        some = [int(t) for t in source.permutation(list(texts))[:3]] if texts else []
        if act == "start":
            tokens = [*[1, 2, 3, 4, 5, 6][:source.integers(0, 7)], *(int(t) for t in source.integers(0, 3, source.integers(1, 4)))]
            try:
                text, logits = start(film.model, cache, tokens)
            except OutOfPages:
                continue
            texts[text] = tokens
            np.testing.assert_allclose(logits, film.wanted(tokens), rtol=1e-3, atol=1e-5)
        elif act == "step" and some:
            tokens = [int(t) for t in source.integers(0, 11, len(some))]
            if max(len(texts[text]) for text in some) >= 40:
                continue
            try:
                logits = paged_step(film.model, cache, some, tokens)
            except OutOfPages:
                continue
            for text, token, row in zip(some, tokens, logits, strict=True):
                texts[text] = [*texts[text], token]
                np.testing.assert_allclose(row, film.wanted(texts[text]), rtol=1e-3, atol=1e-5)
        elif act == "fork" and some:
            texts[cache.fork(some[0])] = texts[some[0]]
        elif act == "truncate" and some:
            texts[some[0]] = texts[some[0]][:source.integers(0, len(texts[some[0]]) + 1)]
            cache.truncate(some[0], len(texts[some[0]]))
        elif act == "close" and some:
            cache.close(some[0])
            del texts[some[0]]
    for text in list(texts):
        cache.close(text)
        del texts[text]
    film.holds()
    assert cache.pool.free + len(cache.index.pages) == len(cache.pool.uses)
    cache.index.forget(cache.pool, 99)
    assert cache.pool.free == len(cache.pool.uses) and cache.index.pages == {}


def test_a_beginning_is_kept_once_and_given_up_for_others():
    model = small(length=100)
    cache, common = PagedCache(model, 8, 4), list(range(9))
    first, _ = start(model, cache, [*common, 1])                # 10 tokens, 3 pages, 2 of them whole
    second, _ = start(model, cache, [*common, 2])
    assert cache.tables[first][:2] == cache.tables[second][:2] and cache.pool.free == 4
    cache.close(first), cache.close(second)
    assert cache.pool.free == 6 and cache.leaks() == []
    third, _ = start(model, cache, [10] * 29)                   # all 8 pages
    assert cache.pool.free == 0 and cache.index.match([*common, 1]) == []
    with pytest.raises(OutOfPages, match="3 more positions want 1 pages, and 0 of 8 are free"):
        start(model, cache, [3, 3, 3])
    assert list(cache.tables) == [third] and cache.leaks() == []


def test_a_page_from_which_others_go_on_is_never_forgotten():
    """Two texts computed the same beginning; the second's own page is not in the index, and what follows it is."""
    pool, index = PagePool(6), PrefixIndex(1)
    first, second = [pool.take()], [pool.take(), pool.take()]
    for table, tokens in ((first, [7]), (second, [7, 8])):
        for page in index.insert(tokens, table):
            pool.share(page)
    pool.drop(first[0])                                         # the first text is closed
    assert index.forget(pool, 5) == 0 and index.match([7, 8, 9]) == [first[0], second[1]]
    for page in second:
        pool.drop(page)
    assert index.forget(pool, 5) == 2 and pool.free == 6


@pytest.mark.parametrize("page", [64, 128])
def test_pages_and_one_array_give_the_same_bits_where_the_kernel_takes_the_same_blocks(rng, page):
    """Blocks of the kernel are of 64 positions; with smaller pages sums are formed in other parts, and equal within rounding."""
    q, k, v = (rng.normal(size=shape).astype("float32") for shape in ((1, 4, 8), (1, 300, 2, 8), (1, 300, 2, 8)))
    whole, length = np.empty_like(q), np.array([300])
    kernel("attention_decode")(q, k, v, length, whole)
    for size, same in ((page, True), (16, False)):
        n = -(-300 // size)
        table, stores = rng.permutation(n)[None], np.zeros((2, n, size, 2, 8), "float32")
        where = page_slots(list(table[0]), size, 0, 300)
        for store, part in zip(stores, (k, v), strict=True):
            store[where] = part[0]
        out = np.empty_like(q)
        kernel("attention_decode")(q, *stores, length, out, table)
        np.testing.assert_allclose(out, whole, rtol=0, atol=1e-6)
        if same:
            np.testing.assert_array_equal(out, whole)


def test_a_fork_that_reads_the_same_has_the_same_bits_and_one_that_does_not_disturbs_nobody(backend):
    model = small("llama")
    cache = PagedCache(model, 20, 4)
    text, _ = start(model, cache, [1, 2, 3, 4, 5, 6])
    same, other = cache.fork(text), cache.fork(text)
    alone = paged_step(model, cache, [other], [9])
    a, b = paged_step(model, cache, [text, same], [7, 7])
    np.testing.assert_array_equal(a, b)
    assert abs(alone[0] - a).max() > 1e-4
    with pytest.raises(ValueError, match="each text reads one token a step, got texts"):
        paged_step(model, cache, [text, text], [1, 2])
    with pytest.raises(KeyError):
        cache.close(99)


def test_a_step_without_a_free_page_changes_no_text():
    model = small()
    cache = PagedCache(model, 2, 4)
    text, _ = start(model, cache, [1, 2, 3, 4])
    other = cache.fork(text)
    with pytest.raises(OutOfPages):
        paged_step(model, cache, [text, other], [5, 6])
    assert cache.lengths == {text: 4, other: 4} and cache.leaks() == []
    cache.close(other)
    np.testing.assert_allclose(paged_step(model, cache, [text], [5])[0], Film("gpt2", 1, 1).wanted([1, 2, 3, 4, 5]), rtol=1e-3, atol=1e-5)


def test_a_free_page_is_neither_shared_nor_dropped():
    pool = PagePool(2)
    assert (pool.take(), pool.take(), pool.free) == (0, 1, 0)
    with pytest.raises(OutOfPages, match="all 2 pages are in use"):
        pool.take()
    pool.drop(1)
    for act in (pool.drop, pool.share):
        with pytest.raises(ValueError, match="page 1 is free"):
            act(1)
    assert pool.take() == 1


# Speculation

@given(st.integers(0, 2**32), st.integers(2, 9))
def test_a_kept_guess_or_one_from_the_residual_has_the_targets_probabilities(seed, V):
    source = np.random.default_rng(seed)
    p, q = source.dirichlet(np.ones(V), 2)
    kept = np.minimum(p, q)
    np.testing.assert_allclose(kept + (1 - acceptance(p, q)) * residual(p, q), p, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_tokens_of_a_round_are_a_geometric_sum(alpha, ahead):
    wanted = ahead + 1 if alpha == 1 else (1 - alpha ** (ahead + 1)) / (1 - alpha)
    assert expected_tokens(alpha, ahead) == pytest.approx(wanted)
    assert speculative_speedup(alpha, ahead, 0.25) == pytest.approx(wanted / (1 + ahead / 4))


def test_rounds_have_the_expected_length_and_every_place_the_targets_distribution():
    """Rows that are alike, so that each guess is kept with one probability: 0.7, as in the worked example."""
    p, q, source = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.6, 0.2]), np.random.default_rng(0)
    target, draft, places, total, rounds = np.stack([p] * 4), np.stack([q] * 3), np.zeros((4, 3), int), 0, 6000
    for drafted in source.choice(3, (rounds, 3), p=q):
        tokens = verify(target, draft, drafted, source)
        assert tokens[:-1] == drafted[:len(tokens) - 1].tolist()
        total += len(tokens)
        for place, token in zip(places, tokens, strict=False):
            place[token] += 1
    assert total / rounds == pytest.approx(expected_tokens(0.7, 3), abs=0.06)       # four standard deviations
    assert all(chi_square_tail(place, p) > 1e-3 for place in places)
    np.testing.assert_allclose(places.sum(1) / rounds, 0.7 ** np.arange(4), atol=0.03)
    with pytest.raises(ShapeError, match="got 2, 3 and 4"):
        verify(target, draft, drafted[:2], source)


class Chain:
    """A quick language model of three tokens: what comes next depends on the last two, the one before read from its cache."""

    vocabulary, length, training, blocks = 3, 9, False, [None]

    def __init__(self, seed, sharp):
        self.last, self.before = np.random.default_rng(seed).normal(0, sharp, (2, 3, 3))

    def train(self, mode=True):
        return self

    eval = train

    def __call__(self, ids, caches=None, offset=0):
        seen = Tensor(np.asarray(ids)[:, None, :, None].astype(float))
        if caches is not None:
            seen, _ = caches[0].extend(seen, seen)
        text = seen.numpy()[0, 0, :, 0].astype(int)
        assert len(text) == offset + ids.shape[1]
        logits = self.last[text] + np.concatenate([np.zeros((1, 3)), self.before[text[:-1]]])
        return Tensor(logits[None, offset:])


def speculated(runs, count=3):
    """Counts of the texts that a model writes with a draft behind [1], and the exact probability of each."""
    model, draft = Chain(0, 0.7), Chain(1, 1.0)
    weights = []
    for text in itertools.product(range(3), repeat=count):
        rows = sampling_weights(model(np.array([[1, *text]])).numpy()[0])
        weights.append(math.prod(rows[t][token] for t, token in enumerate(text)))
    source, counts = np.random.default_rng(5), np.zeros(3**count, int)
    for _ in range(runs):
        text = speculate(model, draft, [[1]], count, 2, rng=source).ids.numpy()[0, 1:]
        counts[int("".join(map(str, text)), 3)] += 1
    return counts, weights


def test_whole_texts_have_the_exact_joint_distribution_of_the_target():
    counts, weights = speculated(3000)
    assert sum(weights) == pytest.approx(1) and min(weights) > 1e-3
    assert chi_square_tail(counts, weights) > 1e-3


@pytest.mark.parametrize("rule", ["draw from p after a miss", "keep every guess"])
def test_the_statistical_test_has_teeth(monkeypatch, rule):
    if rule == "keep every guess":
        monkeypatch.setattr(memoization, "verify", lambda target, draft, drafted, rng: [*map(int, drafted), int(target[-1].argmax())])
    else:
        monkeypatch.setattr(memoization, "residual", lambda p, q: p)
    assert chi_square_tail(*speculated(1000)) < 1e-6


@kinds
@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_without_chance_the_text_is_the_targets_whatever_the_draft(backend, kind, ahead):
    model, text = small(kind), ids(4, 1)
    wanted = generate(model, text, 12, 0).numpy()
    for draft in (small("gpt2", 8), model, small("llama", 9)):
        done = speculate(model, draft, text, 12, ahead, 0)
        np.testing.assert_array_equal(done.ids.numpy(), wanted)
        assert done.rounds + done.kept == 12 and done.refused <= done.rounds
    same = speculate(model, model, text, 12, ahead, 0)
    assert same.refused == 0 and same.rounds == math.ceil(12 / (ahead + 1))


def test_speculation_refuses_what_does_not_fit():
    model = small(length=10)
    with pytest.raises(ShapeError, match=r"one text, ids \(1, T\), got shape \(2, 4\)"):
        speculate(model, model, ids(4), 2)
    with pytest.raises(ValueError, match="one vocabulary, got 11 and 5"):
        speculate(model, GPT(5, 8, 1, 2), ids(4, 1), 2)
    with pytest.raises(ValueError, match="4 tokens and 8 more do not fit: the models read up to 10"):
        speculate(small(length=40), model, ids(4, 1), 8)
    assert speculate(model, model, ids(4, 1), 0).rounds == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_tail_of_chi_square_is_uniform_for_draws_that_are_right(seed):
    source, p = np.random.default_rng(seed), np.random.default_rng(9).dirichlet(np.ones(8))
    tails = [chi_square_tail(source.multinomial(400, p), p) for _ in range(400)]
    assert abs(np.mean(tails) - 0.5) < 0.07 and abs(np.mean(np.array(tails) < 0.1) - 0.1) < 0.06
    assert chi_square_tail([3, 0], [0.0, 1.0]) == 0.0 and chi_square_tail([7], [1.0]) == 1.0


def test_one_rare_count_is_no_proof():
    """0.3 are expected of the rare cell, and 4 come: 1 in 4000, and not 1 in 10^11 as a cell of its own would say."""
    assert chi_square_tail([500, 496, 4], [0.49985, 0.49985, 0.0003]) > 1e-4


def test_two_degrees_of_freedom_have_an_exponential_tail():
    for a in (0, 10, 20, 30):
        counts = np.array([100 + a, 100 - a, 100])
        assert chi_square_tail(counts, [1 / 3] * 3) == pytest.approx(math.exp(-(2 * a * a / 100) / 2), rel=0.05, abs=2e-3)


# -- over processes

@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork processes")
@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_model_that_is_cut_over_processes_writes_the_same_text_and_each_has_its_part_of_the_cache(world):
    options = {"positions": "rotary", "kv_heads": 4, "activation": "relu"}
    ids, model = np.random.default_rng(0).integers(0, 11, (2, 7)), small(**options)

    def work(ring):
        part = TensorParallel(small(**options), ring)
        text = generate_cached(part, ids, 9, rng=np.random.default_rng(1)).numpy()
        with evaluating(part):
            caches = caches_for(part)
            moved = ring.moved
            logits = part(Tensor(text), caches=caches).numpy()
        return text, logits, sum(cache.nbytes for cache in caches), ring.moved - moved

    text = generate_cached(model, ids, 9, rng=np.random.default_rng(1)).numpy()
    with no_grad():
        logits = model(Tensor(text)).numpy()
    ranks = run_ranks(world, 4 * text.size * 16, work)
    for theirs, found, held, moved in ranks:
        assert (theirs == text).all() and found.tobytes() == ranks[0][1].tobytes()
        assert np.abs(found - logits).max() < 1e-5
        assert held == cache_bytes(2, 4 // world, 4, 16, batch=2)
        assert moved == 2 * 2 * 2 * (world - 1) * text.size * 16 * 4 // world    # two sums a block, round and back


def test_what_cannot_be_cut_is_refused_with_its_numbers():
    class Alone:
        rank, world = 0, 3

    with pytest.raises(ValueError, match="4 heads cannot be cut into 3 equal parts"):
        TensorParallel(small(), Alone)
    with pytest.raises(ValueError, match="no gate"):
        TensorParallel(small("llama"), Alone)
    whole = {f"{name}.{kind}": np.zeros((24, 8)[:2 - (kind == "bias")]) for name in ("qkv", "out", "up", "down") for kind in ("weight", "bias")}
    with pytest.raises(ValueError, match="24 hidden units cannot be cut into 5"):
        tensor_shard(whole, 10, 5, 0, 5)
