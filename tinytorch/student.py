"""Run the framework on a student's own code: tinytorch.use(folder) puts the modules of notebooks in the reference's place.

    tinytorch.use("work")           from here on, for modules whose notebooks are in work/ or one folder below
    with tinytorch.use("work"): ... until the end of the block
    tinytorch.use(None)             the reference again
    print(tinytorch.provenance())   which modules are whose

What is imported afterwards is made of the notebooks: a later module, the student's or the reference's, finds the student's
earlier ones. Tensors and classes made before belong to what was in force then, so choose first and import afterwards.
"""

import ast
import json
import linecache
import sys
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import tinytorch

SIDECAR = "assignment.json"             # beside each notebook; says which cells make the module


class NotebookError(ImportError):
    """A notebook that no module can be made of: one line with the notebook, the cell and the reason."""


@dataclass(frozen=True)
class Source:
    """The exported cells of one notebook: (id, text) in order."""

    path: Path
    cells: tuple

    def where(self, cell):
        return f"{self.path.name}, cell {cell}"


class Provenance(dict):
    """Where each module comes from: {name: path of a notebook, or None for the reference}. str() of it is one line."""

    def __str__(self):
        own = [name for name, path in self.items() if path]
        rest = [name for name, path in self.items() if not path]
        return "; ".join(f"{whose}: {', '.join(names)}" for whose, names in (("yours", own), ("reference", rest)) if names)


class use:
    """Make the modules of notebooks, from here on or, as a context manager, until the end of the block.

    place: a notebook, or a folder with notebooks in it or one folder below; None for the reference. A module without a
    notebook, and one of whose exercises none is written, comes from the reference. skip: names of modules that are to come
    from there although they are begun.

    Raises NotebookError that names the notebook and the cell, FileNotFoundError where there is no notebook; what was in
    force stays in force then.
    """

    def __init__(self, place, *, skip=()):
        sources = {} if place is None else _sources(place, skip)
        self._before = _swap(sources)
        try:
            for name in sources:
                _verify(name)
        except BaseException:
            _swap(*self._before)
            raise
        if sources:
            _unload()                   # each is made again when it is imported, in the order in which it is needed

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        _swap(*self._before)


def provenance():
    """Where each module of the framework comes from -> Provenance."""
    return Provenance({name: _Finder.sources[name].path if name in _Finder.sources else None for name in _modules()})


class _Finder:
    """Finds the modules that come from notebooks, before Python looks into the package."""

    sources = {}                        # name of a module -> Source
    reference = {}                      # the reference's modules, as they were when notebooks took their place

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        package, _, name = fullname.rpartition(".")
        if package != "tinytorch" or name not in cls.sources:
            return None
        return ModuleSpec(fullname, _Loader(cls.sources[name]), origin=str(cls.sources[name].path))


class _Loader:
    def __init__(self, source):
        self.source = source

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__file__ = str(self.source.path)
        for cell, text in self.source.cells:
            name = f"<{self.source.where(cell)}>"
            linecache.cache[name] = (len(text), None, text.splitlines(True), name)
            try:
                exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
            except NotebookError:
                raise                   # of an earlier module that this one imports
            except Exception as error:
                what = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) else str(error)
                raise NotebookError(f"{self.source.where(cell)}: {type(error).__name__}: {what}") from None


def _modules():
    """Names of the modules that the course exports, as far as they are there."""
    return [name for name in tinytorch._MODULES if name in _Finder.sources or find_spec(f"tinytorch.{name}")]


def _verify(name):
    """Import one module of a notebook, so that what is wrong with it is told now."""
    module = import_module(f"tinytorch.{name}")
    missing = [n for n in tinytorch._MODULES[name] if not hasattr(module, n)]
    if missing:
        raise NotebookError(f"{_Finder.sources[name].path.name}: its cells do not define {missing[0]}; fetch the notebook again and "
                            "move your solutions over")


def _swap(sources, modules=None):
    """Put in force what comes from notebooks, and modules of it that were loaded once -> both as they were before."""
    before = _Finder.sources, _unload()
    if not before[0]:
        _Finder.reference = before[1]
    _Finder.sources = sources
    modules = (modules or {}) if sources else _Finder.reference
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    invalidate_caches()
    sys.modules.update(modules)
    for fullname, module in modules.items():
        setattr(tinytorch, fullname.rpartition(".")[2], module)
    return before


def _unload():
    """Forget every module of the course and the names that tinytorch took from them -> the modules.

    fused goes with them: its operations take the tensors that there were when it was imported, and no others.
    """
    found = {}
    for name, taken in (tinytorch._MODULES | {"fused": ()}).items():
        if f"tinytorch.{name}" in sys.modules:
            found[f"tinytorch.{name}"] = sys.modules.pop(f"tinytorch.{name}")
        for attribute in (name, *taken):
            vars(tinytorch).pop(attribute, None)
    return found


def _sources(place, skip):
    """Notebooks at `place` that make a module -> {name: Source}, in the order of the course."""
    place = Path(place).expanduser().resolve()
    unknown = [name for name in skip if name not in tinytorch._MODULES]
    if unknown:
        raise ValueError(f"there is no module {unknown[0]!r} to skip; there are {', '.join(tinytorch._MODULES)}")
    notebooks = [place] if place.suffix == ".ipynb" else sorted([*place.glob("*.ipynb"), *place.glob("[!.]*/*.ipynb")])
    found, seen = {}, {}
    for path in notebooks:
        name, cells = _exported(path, skip)
        if name in seen:
            raise NotebookError(f"two notebooks for tinytorch.{name}: {seen[name]} and {path}; name the one that counts")
        if name is not None:
            seen[name] = path
            if name not in skip and _begun(path, name, cells):
                found[name] = Source(path, cells)
    if not seen:
        raise FileNotFoundError(f"{place}: no notebook of a TinyTorch module with {SIDECAR} beside it; wants a notebook, its folder, "
                                "or the folder above")
    return {name: found[name] for name in tinytorch._MODULES if name in found}


def _exported(path, skip=()):
    """Name of the module that a notebook makes, and its cells ((id, text), ...), of which there are none if it is skipped;
    (None, ()) for another notebook.
    """
    try:
        baked = json.loads((path.parent / SIDECAR).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, ()
    except ValueError:
        raise NotebookError(f"{path.parent / SIDECAR}: not readable, so nobody knows which cells make the module; fetch it again") from None
    if "exports" not in baked or baked["notebook"] != path.stem:
        return None, ()
    name = Path(baked["exports"]["to"]).stem
    if name in skip:
        return name, ()
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = {c["metadata"].get("nbgrader", {}).get("grade_id"): "".join(c["source"]) for c in cells if c["cell_type"] == "code"}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such notebook") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotebookError(f"{path.name}: not a readable notebook ({type(error).__name__}); fetch it again") from None
    lost = [cell for cell in baked["exports"]["cells"] if cell not in texts]
    if lost:
        raise NotebookError(f"{path.name}: cell {lost[0]} is missing; fetch the notebook again and move your solutions over")
    return name, tuple((cell, texts[cell]) for cell in baked["exports"]["cells"])


def _begun(path, name, cells):
    """Whether the exported exercises are written: False if none is. Raises NotebookError for the first of some that is not."""
    exercises = [(cell, text) for cell, text in cells if cell.startswith("solution-")]
    blank = [cell for cell, text in exercises if _blank(text)]
    if blank and len(blank) < len(exercises):
        raise NotebookError(f"{path.name}, cell {blank[0]}: not written yet, and {len(exercises) - len(blank)} of {len(exercises)} "
                            f"exercises are; write it, or take this module from the reference: --skip {name}, in Python skip=[{name!r}]")
    return not blank


def _blank(text):
    """Whether an exercise still is what was handed out: `raise NotImplementedError()`, without a message."""
    try:
        raised = [n.exc for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Raise)]
    except SyntaxError:
        return False                    # told when it is run
    return any(isinstance(e, ast.Call) and not e.args and getattr(e.func, "id", "") == "NotImplementedError" for e in raised)
