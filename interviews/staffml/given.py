"""The parameters of one variant, as templates read them."""

import difflib
from collections.abc import Mapping


class Given(Mapping):
    """Immutable parameters: `p.layers` or `p["layers"]`. What is read joins the set `reads`, if there is one."""

    __slots__ = ("_values", "_reads")

    def __init__(self, values, reads=None):
        self._values = dict(values)
        self._reads = reads

    def __getitem__(self, name):
        if self._reads is not None:
            self._reads.add(name)
        return self._values[name]

    def __getattr__(self, name):
        self._known(name)
        return self[name]

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def __repr__(self):
        return f"Given({', '.join(f'{k}={v!r}' for k, v in self._values.items())})"

    def but(self, **changes):
        """A copy with some parameters changed: `cache(p.but(batch=1))`."""
        for name in changes:
            self._known(name)
        return Given(self._values | changes, self._reads)

    def _known(self, name):
        if name not in self._values:
            raise AttributeError(f"no parameter {name!r}{nearest(name, self._values)}")


def nearest(name, known):
    """"; did you mean x?" for the closest of the known names, or nothing."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
