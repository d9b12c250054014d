"""The repository as something that installs: what setup.cfg says, and the scripts that make the environment."""

import ast
import configparser
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "boardkit": "kits/boardkit",
    "mlsysbook": "mlsysbook",
    "mlsysim": "sim/mlsysim",
    "staffml": "interviews/staffml",
    "tinytorch": "tinytorch",
}


@pytest.fixture(scope="module")
def setup_cfg():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return config


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)


def test_setup_cfg_lists_every_package(setup_cfg):
    on_disk = {
        ".".join((package, *init.parent.relative_to(ROOT / folder).parts))
        for package, folder in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    listed = setup_cfg["options"]["packages"].split()
    assert set(listed) == on_disk
    assert listed == sorted(listed)


def test_the_version_is_the_same_wherever_it_stands(setup_cfg):
    import mlsysbook

    version = setup_cfg["metadata"]["version"]
    assert mlsysbook.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_readme_lists_the_modules_of_the_catalogue():
    from mlsysbook import catalogue

    rows = re.findall(r"^\| (\d\d) (\w+) \|.*\| (\d+) \| (\d+) \|$", (ROOT / "README.md").read_text(), re.M)
    modules = [a for a in catalogue.load(ROOT).assignments if a.part == "tinytorch"]
    listed = [(a.notebook[:2], a.title.rpartition(" ")[2], f"{a.points:g}", str(a.minutes)) for a in modules]
    assert rows == listed


def test_licence_files_are_there(setup_cfg):
    for name in setup_cfg["metadata"]["license_files"].split():
        assert (ROOT / name).stat().st_size > 500


def test_packages_are_importable_from_anywhere(tmp_path):
    code = f"import {', '.join(FOLDERS)}; print({', '.join(f'{name}.__file__' for name in FOLDERS)}, sep='\\n')"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout.split() == [str(ROOT / folder / "__init__.py") for folder in FOLDERS.values()], done.stderr


def test_nothing_imports_a_folder_that_is_no_package():
    """From the root, `import sim` works by accident: the package is mlsysim."""
    for top in (*FOLDERS.values(), "modules", "tests", "benchmarks", "deploy"):
        for path in (ROOT / top).rglob("*.py"):
            if "node_modules" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                tops = {name.partition(".")[0] for name in names}
                assert not tops & {"deploy", "interviews", "modules", "sim"}, f"{path}:{node.lineno}"


def test_kernels_are_built_for_any_machine():
    text = (ROOT / "setup.py").read_text()
    assert not re.search(r"['\"](-march=native|-ffast-math|-Ofast)", text)


def test_an_extension_is_rebuilt_when_a_header_changes_that_it_includes(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = runpy.run_path("setup.py", run_name="setup")
    assert sorted(names["KERNELS"]) == sorted(path.stem for path in (ROOT / "tinytorch/_ext").glob("*.pyx"))
    depends = {name: {Path(file).name for file in names["kernel"](name).depends} for name in names["KERNELS"]}
    assert depends["rows"] >= {"common.pxi", "isa.h", "rows.h", "threads.h", "vmath.h"}
    parts = {path.name for pattern in ("*.h", "*.pxi") for path in (ROOT / "tinytorch/_ext").glob(pattern)}
    assert set.union(*depends.values()) == parts


@pytest.fixture
def course(tmp_path):
    """A copy of what is installed, with nothing compiled."""
    course = tmp_path / "course"
    course.mkdir()
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "LICENSE-text", "README.md"):
        shutil.copy(ROOT / name, course)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, course / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return course


@pytest.mark.slow
def test_an_install_without_a_compiler_succeeds_and_says_so(course, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", check=True)
    python = tmp_path / "venv/bin/python"

    log = run(
        sys.executable, "-m", "pip", "--python", python, "install", "-v", "--no-input", "--no-deps", "-e", course,
        env=os.environ | {"CC": "/bin/false"},
    )
    lines = (log.stdout + log.stderr).splitlines()
    assert log.returncode == 0, "\n".join(lines[-30:])
    told = [line.strip() for line in lines if "not compiled" in line]
    assert len(told) == 1 and re.fullmatch(r"(tinytorch\._ext\.\w+(, )?)+ not compiled \(.+\): NumPy runs instead", told[0])
    assert {path.stem for path in (ROOT / "tinytorch/_ext").glob("*.pyx")} == set(re.findall(r"_ext\.(\w+)", told[0]))

    code = f"""
import sys; sys.path.append({sysconfig.get_path("purelib")!r})  # for NumPy
import tinytorch.backend; print(tinytorch.__file__, tinytorch.backend.backend_info(), sep="\\n")
"""
    file, info = run(python, "-c", code, cwd=tmp_path, check=True).stdout.splitlines()
    assert file == str(course / "tinytorch/__init__.py")
    assert re.match(r"backend cython; NumPy instead of: [\w, ]+ \(not compiled\); install a C compiler", info)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler here")
def test_a_wheel_holds_the_kernels_and_runs_where_nothing_else_is_installed(course, tmp_path):
    log = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-input", "--no-deps", "-w", tmp_path / "wheels", course)
    assert log.returncode == 0, log.stderr[-3000:]
    (wheel,) = (tmp_path / "wheels").iterdir()
    bare = tmp_path / "bare"
    shutil.unpack_archive(wheel, bare, "zip")
    compiled = {path.name.partition(".")[0] for path in (bare / "tinytorch/_ext").glob("*.so")}
    assert compiled == {path.stem for path in (ROOT / "tinytorch/_ext").glob("*.pyx")}
    for name in ("isa.h", "common.pxi", "gemm.pyx"):
        assert (bare / "tinytorch/_ext" / name).exists()

    code = f"""
import sys; sys.path[:0] = [{str(bare)!r}, {sysconfig.get_path("purelib")!r}]  # the latter for NumPy
import tinytorch
from tinytorch.backend import backend_info
print(tinytorch.__file__, backend_info().missing, (tinytorch.ones((40, 30)) @ tinytorch.ones((30, 20))).numpy().sum())
"""
    done = run(sys.executable, "-I", "-S", "-c", code, cwd=tmp_path)
    assert done.stdout == f"{bare / 'tinytorch/__init__.py'} {{}} 24000.0\n", done.stderr


@pytest.fixture
def fake_python(tmp_path):
    path = tmp_path / "python3"
    path.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.9.2\nexit 0\n")
    path.chmod(0o755)
    return path


def test_an_old_python_is_refused_in_one_line(fake_python):
    done = run(ROOT / "deploy/setup/find-python", fake_python)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"setup: PYTHON={fake_python} (Python 3.9.2): Python 3.11 or newer is needed\n"


def test_a_python_that_others_can_run_is_preferred(tmp_path):
    done = run(ROOT / "deploy/setup/find-python")
    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip()).resolve()
    version = run(found, "-c", "import sys; print(sys.version_info >= (3, 11))")
    assert version.stdout == "True\n"
    system = shutil.which("python3", path="/usr/bin")
    if system and run(system, "-c", "import sys; sys.exit(sys.version_info < (3, 11))").returncode == 0:
        assert found == Path(system).resolve()


@pytest.mark.parametrize("required, code", [("", 0), ("1", 1)])
def test_a_missing_program_without_apt_is_one_line(tmp_path, required, code):
    (tmp_path / "id").symlink_to(shutil.which("id"))
    environment = {"PATH": str(tmp_path)} | ({"REQUIRED": required} if required else {})
    done = run(ROOT / "deploy/setup/system", "id=coreutils", "bwrap=bubblewrap", "node=nodejs", env=environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("setup: missing bwrap node (this system has no apt-get): install it by hand")
    assert "bubblewrap nodejs" in done.stderr and "coreutils" not in done.stderr


def test_setup_turns_off_what_jupyterlab_fetches_by_itself():
    settings = json.loads((Path(sys.prefix) / "etc" / "jupyter" / "labconfig" / "page_config.json").read_text())
    assert settings["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"] is True
