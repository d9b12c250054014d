"""The student's copy of an assignment without a class: what nbgrader would release, in a folder of one's own."""

import shutil

import nbformat

from ..errors import CatalogueError


def student_copy(assignment, folder):
    """Write the notebook without solutions, and the files beside it, into a new folder -> path of the notebook."""
    from nbgrader.preprocessors import ClearOutput, ClearSolutions, ComputeChecksums, LockCells

    if not assignment.notebook_path.is_file():
        raise CatalogueError(f"{assignment.name} is not built: run `mlsys build {assignment.name}`")
    if folder.exists():
        raise CatalogueError(f"{folder} is there already and may hold your work: name another folder with --to")
    nb = nbformat.read(assignment.notebook_path, as_version=4)
    for step in (ClearSolutions(), LockCells(), ComputeChecksums(), ClearOutput()):
        nb, _ = step.preprocess(nb, {})
    shutil.copytree(assignment.source_dir, folder, ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    path = folder / assignment.notebook_path.name
    nbformat.write(nb, path)
    return path
