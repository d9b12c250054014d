"""Start in a tenth of the time: keep jsonschema, which nbformat imports, from compiling a grammar for IRIs.

jsonschema uses the package rfc3987_syntax if it is there, and that package compiles its grammar when it is imported: most of a
second. No schema of a notebook has a format that needs it. None in sys.modules makes its import fail, which jsonschema allows for.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
