# %% [markdown]
# # A gradient that is summed
# A bias of shape (D,) is added to N rows. Each row pulls on it, so its gradient is a sum of N terms.

# %%
#| export
import numpy as np

# %%
from mlsysbook import case, check, prop


# %% solution="unbroadcast"
#| export
def unbroadcast(grad, shape):
    """Sum grad down to shape: the transpose of broadcasting shape up to grad.shape."""
    ### BEGIN SOLUTION
    if len(shape) > grad.ndim:
        raise ValueError("shape has more axes than grad")
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    widened = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=widened, keepdims=True)
    ### END SOLUTION

# %% check="unbroadcast" points=3
check("unbroadcast", [case(np.ones((4, 3, 2)), (3, 1)), case(np.ones((4, 3, 2)), (2,))],
      properties=[prop("have the shape that was asked for", lambda out, grad, shape: out.shape == tuple(shape))])

# %% hidden="unbroadcast"
def cases(rng):
    for grown, target in [((5, 4), (1, 4)), ((5, 4), (4,)), ((3, 5, 4), (5, 1))]:
        yield case(rng.normal(size=grown), target, behaviour="sums what broadcasting created or widened")
    yield case(rng.normal(size=(2, 3)), (2, 3), behaviour="leaves a gradient of the right shape alone")
    yield case(rng.normal(size=(3,)), (3, 1), behaviour="refuses a shape with more axes")

# %% [markdown]
# ## A product, from its definition

# %% solution="product"
def product(a, b):
    """a (N, K), b (K, M) -> (N, M), without the library's own product."""
    ### BEGIN SOLUTION
    return (a[:, :, None] * b[None, :, :]).sum(axis=1)
    ### END SOLUTION

# %% check="product" points=3
check("product", [case(np.ones((2, 3)), np.ones((3, 2)))],
      forbid=("np.matmul", "np.dot", "@", "np.einsum", "np.inner", "np.tensordot", "np.vdot"))

# %% hidden="product"
def cases(rng):
    for n, k, m in [(2, 3, 4), (1, 5, 2), (3, 1, 3)]:
        yield case(rng.normal(size=(n, k)), rng.normal(size=(k, m)), behaviour="is the sum over the shared axis")
    yield case(np.zeros((2, 0)), np.zeros((0, 3)), behaviour="is zero where the shared axis is empty")

# %% [markdown]
# ## An object with a state

# %% solution="running"
class Running:
    """Mean of what was pushed."""

    ### BEGIN SOLUTION
    def __init__(self):
        self.total, self.n = 0.0, 0

    def push(self, x):
        self.total, self.n = self.total + x, self.n + 1

    def numpy(self):
        return np.array([self.total / self.n, self.n])
    ### END SOLUTION

# %% check="running" points=3
def fed(values):
    r = Running()
    for v in values:
        r.push(v)
    return r


check("running", [case([1.0, 2.0])], call=fed)

# %% hidden="running"
def cases(rng):
    for n in (1, 4, 9):
        yield case([float(v) for v in rng.normal(size=n)], behaviour="holds mean and count")

# %% [markdown] rubric="explain" points=2
# Why does a broadcast turn into a sum?
# ### BEGIN MARK SCHEME
# Each copy contributes.
# ### END MARK SCHEME
