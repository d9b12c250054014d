"""What a notebook shows: five hundred megabytes, terminal escapes, scripts."""

from tests.attacks.world import (
    UNBROADCAST,
    Attack,
    written,
)

OUTPUTS = [
    Attack(
        "prints_without_end",
        "prints five hundred megabytes",
        written(
            before="""
        line = "x" * 999_999
        for i in range(500):
            print(line)
        """
        ),
        shows="bytes more are not shown",
        flags=("limit",),
    ),
    Attack(
        "writes_to_descriptors",
        "writes five hundred megabytes to descriptors 1 and 2",
        written(
            before="""
        import os
        block = b"x" * 1_000_000
        for i in range(250):
            os.write(1, block)
            os.write(2, block)
        print("tried")
        """
        ),
        shows="tried",
    ),
    Attack(
        "escapes_and_scripts",
        "terminal escapes, HTML and scripts wherever text may stand",
        written(
            before="""
        import sys
        bad = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m<script>alert(1)</script><img src=x onerror=alert(1)>\\u202e\\x00\\r\\x08"
        print(bad); print(bad, file=sys.stderr)
        class Shown:
            def __repr__(self): return bad
            def _repr_html_(self): return "<script>alert('shown')</script>"
            def _repr_mimebundle_(self, **k): return {"text/html": self._repr_html_(), "application/javascript": "alert(1)"}
        try:
            raise type("<script>", (Exception,), {})(bad)
        except Exception as error:
            print(error)
        Shown()
        """,
            after="raise RuntimeError('\\x1b[31m<script>')",
            unbroadcast="""
        def unbroadcast(grad, shape):
            raise type("\\x1b[31m<script>alert(1)</script>", (Exception,), {})("\\x1b[31m<img src=x onerror=alert(1)>")
        """,
        ),
        UNBROADCAST,
        shows="script",
    ),
]
