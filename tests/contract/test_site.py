"""Links, anchors and named files of the documents, and the pages of the site; none of it needs mkdocs or a network."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TRACKED = set(subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
DOCUMENTS = sorted(ROOT / name for name in TRACKED if name.endswith(".md") and (ROOT / name).exists())
DOCUMENTS = [path for path in DOCUMENTS if path.relative_to(ROOT).parts[0] not in ("lddm", "tests")]
SOURCES = [
    path for folder in ("lddm", "benchmarks", "config", "tests") for path in sorted((ROOT / folder).rglob("*.*"))
]
NAMED = re.compile(
    r"\b(?:docs|config|benchmarks|lddm|tests|workflow|profiles)/[\w./-]+\.(?:md|py|ya?ml|csv|json|ipynb)\b"
)
MADE = {"config/my.yaml", "benchmarks/latest.json", "benchmarks/gpu.json"}  # by a reader, by runs
OF_READERS = {"docs/extending.md", "CHANGELOG.md"}  # their readers make the files that they name, or had them


def prose(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading; mkdocs.yml asks for the same."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    return {slug(line) for line in re.findall(r"^#+ +(.+?) *$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)}


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8")))


def broken(path: Path) -> list[str]:
    """Relative links of a document that lead to no file or to no heading."""
    found = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not link.startswith("http") and not (target.exists() and (not anchor or anchor in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_to_a_heading(path: Path):
    assert not broken(path)


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Two `words`, here\n[a](#two-words-here) [b](#none) [c](none.md) [d](http://x)\n```\n[e](none)\n```\n"
    )
    assert broken(page) == ["#none", "none.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_are_in_the_repository(path: Path):
    if str(path.relative_to(ROOT)) not in OF_READERS:
        named = set(NAMED.findall(path.read_text(encoding="utf-8"))) - MADE
        assert {name for name in named if not (ROOT / name).exists()} == set()


def test_sections_that_comments_and_docstrings_name_exist():
    found = 0
    for path in (path for path in SOURCES if path.suffix in (".py", ".yaml")):
        text = re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text(encoding="utf-8"))
        for name, section in re.findall(r'\b(docs/[\w/]+\.md)(?:, "([^"]+)")?', text):
            assert (ROOT / name).is_file(), (path, name)
            assert not section or slug(section) in anchors(ROOT / name), (path, name, section)
            found += 1
    assert found > 20


class Loader(yaml.SafeLoader):
    """YAML whose Python objects are read as None."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def pages(entry) -> list[str]:
    """Files of a part of the navigation, in order."""
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]


def test_the_navigation_has_each_page_once():
    listed = pages(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])
    hook = (ROOT / "docs/site_hooks.py").read_text(encoding="utf-8")
    outside = ast.literal_eval(re.search(r"^OUTSIDE = (\{.*?\})$", hook, re.MULTILINE)[1])
    assert all((ROOT / source).is_file() for source in outside)
    there = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*there, *outside.values()])


def test_the_reference_has_a_page_for_each_package():
    packages = {path.parent.name for path in (ROOT / "lddm").glob("*/__init__.py")} - {"cli", "settings"}
    index = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    for name in packages:  # `lddm COMMAND --help` and config/config.yaml describe the other two
        assert f"::: lddm.{name}\n" in (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8")
        assert f"[`lddm.{name}`]({name}.md)" in index
    assert {path.stem for path in (ROOT / "docs/reference").glob("*.md")} == packages | {"index"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
