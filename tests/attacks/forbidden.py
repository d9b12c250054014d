"""Names that an exercise does without, reached by another way."""

from tests.attacks.world import (
    Attack,
    written,
    zero,
)

_P = "def product(a, b):\n    return "
EVASIONS = {
    "by_alias": "import numpy as q\n" + _P + "q.matmul(a, b)",
    "by_from_import": "from numpy import dot as plus\n" + _P + "plus(a, b)",
    "by_star_import": "from numpy import *\n" + _P + "matmul(a, b)",
    "by_assignment": "mm = np.matmul\n" + _P + "mm(a, b)",
    "by_unpacking": "(m, n) = (np, 1)\n" + _P + "m.matmul(a, b)",
    "by_container": "tools = [np]\n" + _P + "tools[0].matmul(a, b)",
    "by_getattr": _P + "getattr(np, 'mat' + 'mul')(a, b)",
    "by_getattr_literal": _P + "getattr(np, 'matmul')(a, b)",
    "by_dict": _P + "np.__dict__['matmul'](a, b)",
    "by_vars": _P + "vars(np)['matmul'](a, b)",
    "by_sys_modules": "import sys\n" + _P + "sys.modules['numpy'].matmul(a, b)",
    "by_operator": _P + "a @ b",
    "by_augmented_operator": "def product(a, b):\n    a = a.copy()\n    a @= b\n    return a",
    "by_operator_module": "import operator\n" + _P + "operator.matmul(a, b)",
    "by_operator_import": "from operator import matmul as times\n" + _P + "times(a, b)",
    "by_dunder": _P + "a.__matmul__(b)",
    "by_dunder_of_type": _P + "type(a).__matmul__(a, b)",
    "by_method": _P + "a.dot(b)",
    "by_class_method": _P + "np.ndarray.dot(a, b)",
    "by_methodcaller": "from operator import methodcaller\n" + _P + "methodcaller('dot', b)(a)",
    "by_attrgetter": "from operator import attrgetter\n" + _P + "attrgetter('dot')(a)(b)",
    "by_eval": _P + "eval('a @ b')",
    "by_wide_eval": _P + "ｅval('a @ b')",
    "by_builtins": "import builtins\n" + _P + "builtins.eval('a @ b')",
    "by_dunder_builtins": _P + "__builtins__['eval']('a @ b', {'a': a, 'b': b})",
    "by_import": _P + "__import__('numpy').matmul(a, b)",
    "by_importlib": "import importlib\n" + _P + "importlib.import_module('numpy').matmul(a, b)",
    "by_submodule": "from numpy.linalg import matmul as mm\n" + _P + "mm(a, b)",
    "by_core": "import numpy._core.multiarray as m\n" + _P + "m.dot(a, b)",
    "by_default": "def product(a, b, mm=np.matmul):\n    return mm(a, b)",
    "by_lambda": "product = (lambda f: lambda a, b: f(a, b))(np.matmul)",
    "by_partial": "from functools import partial\nproduct = partial(np.matmul)",
    "by_map": _P + "list(map(np.dot, [a], [b]))[0]",
    "by_class_body": "class T:\n    mm = np.matmul\n" + _P + "T.mm(a, b)",
    "by_magic": "%precision 3\n" + _P + "np.matmul(a, b)",
    "by_subclass_walk": _P + "[c for c in object.__subclasses__() if c.__name__ == 'ndarray'][0].dot(a, b)",
    "by_globals": "globals()['product'] = np.matmul",
    "by_setattr": "import sys\nsetattr(sys.modules['__main__'], 'product', np.matmul)",
    "by_match": "def product(a, b):\n    match np:\n        case m:\n            return m.matmul(a, b)",
    "by_walrus": _P + "(m := np).matmul(a, b)",
    "by_for": "def product(a, b):\n    for m in (np,):\n        return m.matmul(a, b)",
    "by_with": "import contextlib\ndef product(a, b):\n    with contextlib.nullcontext(np) as m:\n        return m.matmul(a, b)",
    "by_argument": "def inner(m, a, b):\n    return m.matmul(a, b)\n" + _P + "inner(np, a, b)",
    "by_inner_module": _P + "np.linalg.matmul(a, b)",
}
ELSEWHERE = {
    "from_another_cell": dict(before="def helper(a, b):\n    return np.matmul(a, b)", product=_P + "helper(a, b)"),
    "from_the_cell_of_another_task": dict(before="helper = np.dot", product=_P + "helper(a, b)"),
    "by_replacing_code": dict(
        product="def product(a, b):\n    return 0\ndef other(a, b):\n    return np.matmul(a, b)\nproduct.__code__ = other.__code__"
    ),
    "by_patching_numpy": dict(before="np.add = np.matmul", product=_P + "np.add(a, b)"),
    "by_patching_under_alias": dict(before="import numpy as q\nq.add = q.matmul", product=_P + "np.add(a, b)"),
    "by_patching_a_builtin": dict(before="import builtins\nbuiltins.sum = np.matmul", product=_P + "sum(a, b)"),
    "by_patching_the_recorder": dict(
        before="import mlsysbook.answers.check as c\nold = c.run_case\n"
        "c.run_case = lambda call, case: old(np.matmul if 'product' in call.__name__ else call, case)",
        product=_P + "0",
    ),
    "by_a_file": dict(
        files={"tools.py": "from numpy import matmul as times\n"},
        before="import sys\nsys.path.insert(0, '.')",
        product="from tools import times\n" + _P + "times(a, b)",
    ),
    "by_exec_of_a_file": dict(files={"tools.txt": "def product(a, b): return a @ b\n"}, product="exec(open('tools.txt').read())"),
    "by_run_magic": dict(files={"tools.py": "def product(a, b): return a @ b\n"}, product="%run tools.py"),
    "by_run_cell": dict(product="get_ipython().run_cell('def product(a, b): return a @ b')"),
}
FORBIDDEN = [
    *(
        Attack(name, "uses a forbidden name", written(product=source), zero("product"), notes="does without")
        for name, source in EVASIONS.items()
    ),
    *(
        Attack(name, "uses a forbidden name from elsewhere", written(**how), zero("product"), notes="does without")
        for name, how in ELSEWHERE.items()
    ),
]
