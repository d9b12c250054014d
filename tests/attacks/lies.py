"""Results that lie: objects equal to everything, answers that were seen before, errors that never end."""

from tests.attacks.world import (
    UNBROADCAST,
    Attack,
    written,
    zero,
)

LIES = [
    Attack(
        "equal_to_everything",
        "returns an array whose == is always true",
        written(
            unbroadcast="""
        class Yes(np.ndarray):
            def __eq__(self, other): return True
            __ne__ = __lt__ = __sub__ = __rsub__ = __abs__ = lambda self, *a: np.zeros(1).view(Yes)
            def all(self, *a, **k): return True
            def any(self, *a, **k): return False
        def unbroadcast(grad, shape):
            return np.zeros(1).view(Yes)
        """
        ),
        UNBROADCAST,
        notes="not right",
    ),
    Attack(
        "equal_number",
        "returns a float whose comparisons are always true",
        written(
            unbroadcast="""
        class Yes(float):
            def __eq__(self, other): return True
            def __sub__(self, other): return Yes(0)
            __rsub__ = __abs__ = __sub__
            def __lt__(self, other): return True
        def unbroadcast(grad, shape):
            return Yes(0)
        """
        ),
        UNBROADCAST,
        notes="not right",
    ),
    Attack(
        "false_class",
        "returns an object that claims to be an ndarray",
        written(
            unbroadcast="""
        class Liar:
            __class__ = property(lambda self: np.ndarray)
            def __array__(self, *a, **k): return np.zeros(1)
            def __eq__(self, other): return True
            def __getattr__(self, name): return lambda *a, **k: self
        def unbroadcast(grad, shape):
            return Liar()
        """
        ),
        UNBROADCAST,
        notes="not right",
    ),
    Attack(
        "false_numpy_method",
        "an object whose numpy() returns a subclass that lies",
        written(
            running="""
        class Yes(np.ndarray):
            def __eq__(self, other): return True
        class Running:
            def push(self, x): pass
            def numpy(self): return np.zeros(2).view(Yes)
        """
        ),
        zero("running"),
        notes="not right",
    ),
    Attack(
        "growing_numpy_method",
        "an object whose numpy() is another one at every call",
        written(
            running="""
        class Running:
            n = 0
            def push(self, x): pass
            def numpy(self):
                Running.n += 1
                return [np.array([1.5, 2.0]), np.zeros(2)][Running.n % 2]
            __class__ = property(lambda self: np.ndarray)
        """
        ),
        zero("running"),
        notes="not right",
    ),
    Attack(
        "pickle_and_finalizer",
        "an object that runs programs when it is pickled, copied, printed or freed",
        written(
            unbroadcast="""
        import os
        class Bomb:
            def __reduce__(self): return os.system, ("touch @CLASS@/touched",)
            __deepcopy__ = __copy__ = __repr__ = __str__ = __del__ = lambda self, *a: os._exit(3)
            def __getattr__(self, name): raise SystemExit(4)
        keep = []
        def unbroadcast(grad, shape):
            keep.append(Bomb())
            return keep[-1]
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "changed_after_return",
        "returns zeros and writes the right values into them a little later",
        written(
            unbroadcast="""
        import threading, time
        def unbroadcast(grad, shape):
            out = np.zeros(shape)
            def later():
                time.sleep(0.02)
                out[...] = 1.0
            threading.Thread(target=later).start()
            return out
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "endless_exception",
        "raises an error whose text never ends",
        written(
            unbroadcast="""
        class Endless(Exception):
            def __str__(self):
                while True: pass
        def unbroadcast(grad, shape):
            raise Endless()
        """
        ),
        UNBROADCAST,
        flags=("limit",),
        notes="did not end within",
    ),
    Attack(
        "failing_exception",
        "raises an error whose text raises an error",
        written(
            unbroadcast="""
        class Deep(BaseException):
            def __str__(self): raise self
            __repr__ = __str__
        def unbroadcast(grad, shape):
            raise Deep()
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "failing_exception_in_a_cell",
        "an ordinary cell raises an error whose text raises an error",
        written(
            before="""
        class Deep(BaseException):
            def __str__(self): raise self
            __repr__ = __str__
        raise Deep()
        """
        ),
        loud=False,
    ),
    Attack(
        "not_a_number",
        "returns arrays of NaN",
        written(unbroadcast="def unbroadcast(grad, shape):\n    return np.full(shape, np.nan)"),
        UNBROADCAST,
    ),
    Attack(
        "remembers_the_examples",
        "returns the wanted results of the visible cases",
        written(
            unbroadcast="""
        def unbroadcast(grad, shape):
            return {(3, 1): np.full((3, 1), 8.0), (2,): np.full((2,), 12.0)}[tuple(shape)]
        """
        ),
        UNBROADCAST,
        notes="not right: sums what",
    ),
    Attack(
        "counts_the_calls",
        "works on the first calls, taken for the visible ones, and returns a constant after",
        written(
            unbroadcast="""
        calls = []
        def unbroadcast(grad, shape):
            calls.append(1)
            return np.full(shape, 24.0 / np.prod(shape)) if len(calls) <= 2 else np.zeros(shape)
        """
        ),
        UNBROADCAST,
    ),
    Attack(
        "always_the_error",
        "raises the error that one hidden case wants, on every case",
        written(
            unbroadcast="""
        class Everything(ValueError, TypeError, KeyError): pass
        def unbroadcast(grad, shape):
            raise Everything("shape has more axes than grad")
        """
        ),
        UNBROADCAST,
    ),
]
