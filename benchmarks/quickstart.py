"""Notebook docs/quickstart.ipynb from docs/quickstart.md: text becomes Markdown cells, Python blocks become code cells.

    python -m benchmarks.quickstart

tests/contract/test_quickstart.py executes the notebook and compares it with the page.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from lddm.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
PAGE, NOTEBOOK = ROOT / "docs/quickstart.md", ROOT / "docs/quickstart.ipynb"
PYTHON = re.compile(r"```python\n(.*?)\n```", re.DOTALL)


def notebook(page: str) -> NotebookNode:
    """Notebook with the cells of a Markdown page; cell ids are numbers, so that the output is deterministic."""
    cells = []
    for number, text in enumerate(PYTHON.split(page)):  # every second part is code
        if text.strip():
            new = v4.new_code_cell if number % 2 else v4.new_markdown_cell
            cells.append(new(text.strip(), id=f"cell-{number}"))
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return v4.new_notebook(cells=cells, metadata=about)


def main() -> None:
    """Write the notebook."""
    with atomic_path(NOTEBOOK) as temporary:
        nbformat.write(notebook(PAGE.read_text(encoding="utf-8")), temporary)
    print(f"{NOTEBOOK.relative_to(ROOT)}: {len(PYTHON.findall(PAGE.read_text(encoding='utf-8')))} code cells")


if __name__ == "__main__":
    main()
