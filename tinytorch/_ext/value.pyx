# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# value.pyx -- one number that knows how it was computed: reverse-mode differentiation of scalars.
# Design: (a) an operation has at most two operands, so a Value holds them in two fields, beside the derivative of the result
# by each (its local partials), which are known when the result is; no closure is made, and backward only multiplies;
# (b) backward needs an order in which a Value comes after all that use it: the first walk counts the uses of each Value, the
# second one pulls a Value once all of its uses have been; both keep their stack in the Values themselves, so that no depth
# of graph overflows and nothing is allocated; (c) a number among the operands is a constant: it becomes part of the
# partial, not a Value; (d) memory of a Value comes from a free-list and returns to it. Operands are older than their
# result and never change, so there are no cycles for Python's collector to look for; a graph is torn down by a loop as
# well, since a chain of a million Values that free each other would overflow the C stack.

cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT
from libc.math cimport exp, log, pow, tanh

from numbers import Real


@cython.freelist(4096)
@cython.no_gc
@cython.final
cdef class Value:
    """Value(data)\n--\n
    A number, and how it was computed: + - * / **, relu(), tanh(), exp() and log() of Values and numbers make Values.

    backward() adds the derivative of this Value by each Value that it was computed from to that one's grad.
    """

    cdef public double data, grad
    cdef void* left                     # what this was computed from: references that this Value owns, or NULL
    cdef void* right
    cdef double by_left, by_right       # its derivatives by these
    cdef void* below                    # the next Value on the stack of a walk
    cdef Py_ssize_t uses                # by Values that the second walk has not pulled yet; 0 outside backward

    __array_ufunc__ = None              # np.float64(2) * value asks the Value

    def __init__(self, data):
        self.data = number(data)

    def __dealloc__(self):
        cdef void* v
        cdef void* stack = dropped(self.right, dropped(self.left, NULL))
        while stack != NULL:
            v = stack
            stack = dropped((<Value>v).right, dropped((<Value>v).left, (<Value>v).below))
            (<Value>v).left = (<Value>v).right = NULL
            Py_DECREF(<Value>v)

    def __repr__(self):
        return f"Value(data={self.data!r}, grad={self.grad!r})"

    def __add__(self, other):
        if type(other) is Value:
            return binary(self.data + (<Value>other).data, self, 1, <Value>other, 1)
        if not is_number(other):
            return NotImplemented
        return unary(self.data + number(other), self, 1)

    def __radd__(self, other):
        return self.__add__(other)

    def __sub__(self, other):
        if type(other) is Value:
            return binary(self.data - (<Value>other).data, self, 1, <Value>other, -1)
        if not is_number(other):
            return NotImplemented
        return unary(self.data - number(other), self, 1)

    def __rsub__(self, other):
        if not is_number(other):
            return NotImplemented
        return unary(number(other) - self.data, self, -1)

    def __mul__(self, other):
        cdef double b
        if type(other) is Value:
            b = (<Value>other).data
            return binary(self.data * b, self, b, <Value>other, self.data)
        if not is_number(other):
            return NotImplemented
        b = number(other)
        return unary(self.data * b, self, b)

    def __rmul__(self, other):
        return self.__mul__(other)

    def __truediv__(self, other):
        cdef double b
        if type(other) is Value:
            b = (<Value>other).data
            return binary(self.data / b, self, 1 / b, <Value>other, -self.data / (b * b))
        if not is_number(other):
            return NotImplemented
        b = number(other)
        return unary(self.data / b, self, 1 / b)

    def __rtruediv__(self, other):
        if not is_number(other):
            return NotImplemented
        cdef double a = number(other)
        return unary(a / self.data, self, -a / (self.data * self.data))

    def __pow__(self, other, modulus):
        cdef double a = self.data, b, y
        if modulus is not None:
            return NotImplemented
        if type(other) is Value:
            b = (<Value>other).data
            y = pow(a, b)
            return binary(y, self, power_slope(a, b), <Value>other, 0 if a == 0 and b >= 0 else y * log(a))
        if not is_number(other):
            return NotImplemented
        b = number(other)
        return unary(pow(a, b), self, power_slope(a, b))

    def __rpow__(self, other, modulus):
        if modulus is not None or not is_number(other):
            return NotImplemented
        cdef double a = number(other), y = pow(a, self.data)
        return unary(y, self, 0 if a == 0 and self.data >= 0 else y * log(a))

    def __neg__(self):
        return unary(-self.data, self, -1)

    def relu(self):
        """The larger of this and 0; its slope at 0 is 0, NaN stays NaN."""
        return unary(0 if self.data <= 0 else self.data, self, 0 if self.data <= 0 else 1)

    def tanh(self):
        """The hyperbolic tangent."""
        cdef double y = tanh(self.data)
        return unary(y, self, 1 - y * y)

    def exp(self):
        """e to the power of this."""
        cdef double y = exp(self.data)
        return unary(y, self, y)

    def log(self):
        """The natural logarithm: -inf of 0, NaN of negative numbers."""
        return unary(log(self.data), self, 1 / self.data)

    def backward(self):
        """Set grad of this to 1, of what lies between to its share, and add to grad of the Values made from numbers.

        A second call adds again to the latter, as a second batch would; between two steps, set their grad to 0.
        """
        if self.left == NULL:
            self.grad += 1
            return
        count_uses(self)
        self.grad = 1
        pull_all(self)


cdef inline bint is_number(x):
    return PyFloat_CheckExact(x) or PyLong_CheckExact(x) or isinstance(x, Real)


cdef inline double number(x) except? -1:
    if PyFloat_CheckExact(x):
        return PyFloat_AS_DOUBLE(x)
    if not is_number(x):
        raise TypeError(f"a Value is made from a number, got {type(x).__name__}")
    return <double>float(x)


cdef inline Value unary(double data, Value operand, double slope):
    cdef Value y = Value.__new__(Value)
    Py_INCREF(operand)
    y.data, y.left, y.by_left = data, <void*>operand, slope
    return y


cdef inline Value binary(double data, Value left, double by_left, Value right, double by_right):
    cdef Value y = unary(data, left, by_left)
    Py_INCREF(right)
    y.right, y.by_right = <void*>right, by_right
    return y


cdef inline double power_slope(double a, double b) noexcept nogil:
    """The derivative of a**b by a; the power 0 is flat also at a = 0."""
    return 0 if b == 0 else b * pow(a, b - 1)


cdef inline void* dropped(void* operand, void* stack) noexcept:
    """Give up one reference. If it was the last one, the operand goes on the stack with it. -> the stack's new top."""
    if operand == NULL:
        return stack
    if Py_REFCNT(<Value>operand) > 1:
        Py_DECREF(<Value>operand)
        return stack
    (<Value>operand).below = stack
    return operand


# The walks of backward hold Values by address alone: self keeps the whole graph alive meanwhile, and counting references
# would cost more than the arithmetic.

cdef inline void* used(void* operand, void* stack) noexcept:
    """Count one more use; at the first, put the operand on the stack. -> the stack's new top."""
    if operand == NULL:
        return stack
    (<Value>operand).uses += 1
    if (<Value>operand).uses > 1:
        return stack
    if (<Value>operand).left != NULL:
        (<Value>operand).grad = 0
    (<Value>operand).below = stack
    return operand


cdef inline void* pulled(void* operand, double grad, void* stack) noexcept:
    """Hand the gradient of one use to an operand; after the last, put it on the stack. -> the stack's new top."""
    if operand == NULL:
        return stack
    (<Value>operand).grad += grad
    (<Value>operand).uses -= 1
    if (<Value>operand).uses > 0:
        return stack
    (<Value>operand).below = stack
    return operand


cdef void count_uses(Value root) noexcept:
    cdef void* v
    cdef void* stack = used(root.right, used(root.left, NULL))
    while stack != NULL:
        v = stack
        stack = used((<Value>v).right, used((<Value>v).left, (<Value>v).below))


cdef void pull_all(Value root) noexcept:
    cdef double grad
    cdef void* v
    cdef void* stack = <void*>root
    root.below = NULL
    while stack != NULL:
        v = stack
        grad = (<Value>v).grad
        stack = pulled((<Value>v).left, (<Value>v).by_left * grad, (<Value>v).below)
        stack = pulled((<Value>v).right, (<Value>v).by_right * grad, stack)
