"""A small book: the site's own pages, and one chapter with everything that chapters may hold."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import yaml

ROOT = Path(__file__).parents[2]
OWN = ("_config.yml", "_ext", "_static", "index.md", "paths", "references.bib")


def small_book(folder):
    """A course's folder with that book in it -> a stand-in for the catalogue's Course."""
    book = folder / "book"
    book.mkdir(parents=True)
    for name in OWN:
        (shutil.copytree if (ROOT / "book" / name).is_dir() else shutil.copy)(ROOT / "book" / name, book / name)
    for name in ("course.yml", "modules", "sim", "tinytorch", "mlsysbook", "book/_vendor"):
        (folder / name).symlink_to(ROOT / name)
    (book / "vol1").mkdir()
    shutil.copy(Path(__file__).with_name("sample_chapter.md"), book / "vol1" / "01_sample.md")
    with open(book / "references.bib", "a") as bib:
        bib.write("\n@misc{sample2026, author = {Ada Sample}, title = {A sample}, year = {2026}}\n")
    (book / "map.md").write_text("# Course map\n\nThe real one leads to chapters that are not here.\n")
    (book / "instructors").mkdir()
    (book / "instructors" / "index.md").write_text("# For instructors\n\nThe real pages read the whole catalogue.\n")
    paths = [{"file": f"paths/{p.stem}"} for p in sorted((book / "paths").glob("*.md"))]
    (book / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "index", "parts": [
        {"caption": "Volume I: a sample", "numbered": True, "chapters": [{"file": "vol1/01_sample"}]},
        {"caption": "Choose your path", "chapters": [*paths, {"file": "map"}, {"file": "instructors/index"}]}]}))
    return SimpleNamespace(root=folder)
