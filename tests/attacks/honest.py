"""Honest submissions, which must get what they earned, and one that only looks like it."""

from tests.attacks.world import (
    ALL,
    DRILL,
    UNBROADCAST,
    Attack,
    written,
)

NAMES = [
    Attack(
        "homoglyph",
        "a function whose name looks like the one that is tested",
        written(unbroadcast="def unbr\u043eadcast(grad, shape):\n    return 0"),
        UNBROADCAST,
        notes="not defined|no function",
    ),
]

HONEST = [
    Attack("perfect", "nothing", written()),
    Attack("perfect_numbers", "nothing", written(DRILL), {}, DRILL),
    Attack(
        "partial",
        "nothing; two behaviours of one function are missing",
        written(
            unbroadcast="""
        def unbroadcast(grad, shape):
            grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
            widened = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
            return grad.sum(axis=widened, keepdims=True) if widened else grad
        """,
            product="def product(a, b):\n    raise NotImplementedError()",
        ),
        {"unbroadcast": 2.25, "product": 0.0},
    ),
    Attack(
        "misconception",
        "nothing; it forgets the values",
        written(DRILL, cache="cache = f\"{given['layers'] * given['heads'] * 128 * 2 * 4096} B\""),
        {"cache": 1.5},
        DRILL,
        notes="value beside each key",
    ),
    Attack(
        "empty",
        "nothing; it is as released",
        written(
            unbroadcast="raise NotImplementedError()",
            product="raise NotImplementedError()",
            running="class Running:\n    def __init__(self): raise NotImplementedError()",
        ),
        ALL,
    ),
    Attack(
        "explores",
        "nothing; it compares its work with numpy's in a cell of its own, and uses names that only look forbidden",
        written(
            after="""
        import time
        a, b = np.random.rand(20, 20), np.random.rand(20, 20)
        results = {}
        start = time.perf_counter()
        results["numpy"] = np.matmul(a, b)
        results["mine"] = product(a, b)
        assert np.allclose(results["mine"], a @ b) and np.allclose(np.einsum("ik,kj->ij", a, b), a.dot(b))
        print(f"{time.perf_counter() - start > 0}")
        """,
            product="""
        def product(a, b):
            dot = np.zeros((a.shape[0], b.shape[1]))
            for k in range(a.shape[1]):
                dot += a[:, k, None] * b[None, k]
            return dot
        """,
        ),
        shows="True",
    ),
]
