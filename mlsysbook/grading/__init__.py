"""The judge, the gradebook and the reports."""

from .. import lean  # noqa: F401  (before nbformat)
