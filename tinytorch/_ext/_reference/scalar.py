"""Reverse-mode differentiation of numbers, in Python. Where Python raises, arithmetic goes on as IEEE 754 says."""

import math
from numbers import Real


def _divide(a, b):
    """a / b where Python raises for b = 0: infinity, or NaN for 0 / 0 and NaN / 0."""
    try:
        return a / b
    except ZeroDivisionError:
        return a * math.copysign(math.inf, b) if a else math.nan


def _power(a, b):
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 else math.inf
    except ValueError:  # a negative base to a fraction, or 0 to a negative power
        if a:
            return math.nan
        return math.copysign(math.inf, a) if b % 2 == 1 else math.inf


def _power_slope(a, b):
    return 0.0 if b == 0 else b * _power(a, b - 1)


def _exp(x):
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x):
    try:
        return math.log(x)
    except ValueError:
        return -math.inf if x == 0 else math.nan


class Value:
    """A number, and how it was computed: + - * / **, relu(), tanh(), exp() and log() of Values and numbers make Values.

    backward() adds the derivative of this Value by each Value that it was computed from to that one's grad.
    """

    __slots__ = ("data", "grad", "_partials")
    __array_ufunc__ = None

    def __init__(self, data):
        if not isinstance(data, Real):
            raise TypeError(f"a Value is made from a number, got {type(data).__name__}")
        self.data, self.grad, self._partials = float(data), 0.0, ()

    @staticmethod
    def _of(data, *partials):
        """A computed Value; partials are pairs (operand, the derivative by it)."""
        y = Value.__new__(Value)
        y.data, y.grad, y._partials = data, 0.0, partials
        return y

    def __repr__(self):
        return f"Value(data={self.data!r}, grad={self.grad!r})"

    def __add__(self, other):
        if isinstance(other, Value):
            return Value._of(self.data + other.data, (self, 1.0), (other, 1.0))
        return Value._of(self.data + float(other), (self, 1.0)) if isinstance(other, Real) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other):
        if isinstance(other, Value):
            return Value._of(self.data - other.data, (self, 1.0), (other, -1.0))
        return Value._of(self.data - float(other), (self, 1.0)) if isinstance(other, Real) else NotImplemented

    def __rsub__(self, other):
        return Value._of(float(other) - self.data, (self, -1.0)) if isinstance(other, Real) else NotImplemented

    def __mul__(self, other):
        if isinstance(other, Value):
            return Value._of(self.data * other.data, (self, other.data), (other, self.data))
        if not isinstance(other, Real):
            return NotImplemented
        return Value._of(self.data * float(other), (self, float(other)))

    __rmul__ = __mul__

    def __truediv__(self, other):
        if isinstance(other, Value):
            a, b = self.data, other.data
            return Value._of(_divide(a, b), (self, _divide(1.0, b)), (other, _divide(-a, b * b)))
        if not isinstance(other, Real):
            return NotImplemented
        b = float(other)
        return Value._of(_divide(self.data, b), (self, _divide(1.0, b)))

    def __rtruediv__(self, other):
        if not isinstance(other, Real):
            return NotImplemented
        a, b = float(other), self.data
        return Value._of(_divide(a, b), (self, _divide(-a, b * b)))

    def __pow__(self, other):
        a = self.data
        if isinstance(other, Value):
            b = other.data
            y = _power(a, b)
            return Value._of(y, (self, _power_slope(a, b)), (other, 0.0 if a == 0 and b >= 0 else y * _log(a)))
        if not isinstance(other, Real):
            return NotImplemented
        b = float(other)
        return Value._of(_power(a, b), (self, _power_slope(a, b)))

    def __rpow__(self, other):
        if not isinstance(other, Real):
            return NotImplemented
        a = float(other)
        y = _power(a, self.data)
        return Value._of(y, (self, 0.0 if a == 0 and self.data >= 0 else y * _log(a)))

    def __neg__(self):
        return Value._of(-self.data, (self, -1.0))

    def relu(self):
        """The larger of this and 0; its slope at 0 is 0, NaN stays NaN."""
        return Value._of(0.0, (self, 0.0)) if self.data <= 0 else Value._of(self.data, (self, 1.0))

    def tanh(self):
        """The hyperbolic tangent."""
        y = math.tanh(self.data)
        return Value._of(y, (self, 1 - y * y))

    def exp(self):
        """e to the power of this."""
        y = _exp(self.data)
        return Value._of(y, (self, y))

    def log(self):
        """The natural logarithm: -inf of 0, NaN of negative numbers."""
        return Value._of(_log(self.data), (self, _divide(1.0, self.data)))

    def backward(self):
        """Set grad of this to 1, of what lies between to its share, and add to grad of the Values made from numbers.

        A second call adds again to the latter, as a second batch would; between two steps, set their grad to 0.
        """
        finished, seen, stack = [], {self}, [(self, iter(self._partials))]
        while stack:
            value, operands = stack[-1]
            for operand, _ in operands:
                if operand not in seen:
                    seen.add(operand)
                    stack.append((operand, iter(operand._partials)))
                    break
            else:
                finished.append(value)
                stack.pop()
        for value in finished:
            if value._partials:
                value.grad = 0.0
        self.grad += 1.0
        for value in reversed(finished):
            for operand, partial in value._partials:
                operand.grad += partial * value.grad
