"""A check of pages: tags that close, unique ids, names of fields, buttons and pictures, links within the page."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

VOID = {"br", "circle", "col", "hr", "img", "input", "line", "link", "meta", "source", "wbr"}
NOT_IN_P = {"div", "details", "figure", "form", "h1", "h2", "h3", "h4", "nav", "ol", "p", "section", "table", "ul"}


class Markup(HTMLParser):
    """Reads a page.

    Attributes:
        tags: tag and attributes, in order.
        problems: what is wrong with the page; empty for a good one.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self._open: list[list] = []  # tag, attributes, its text
        self._wide: int | None = None  # cells in the heading of a table
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag, _, _ in self._open]
        self._check_names()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if len(found) < len(attrs):
            self.problems.append(f"<{tag}> has an attribute twice")
        if tag in NOT_IN_P and any(name == "p" for name, _, _ in self._open):
            self.problems.append(f"<{tag}> in <p>")
        found[".label"] = "yes" if any(name == "label" for name, _, _ in self._open) else None
        self.tags.append((tag, found))
        if tag not in VOID:
            self._open.append([tag, found, ""])
            self._cells = 0 if tag == "tr" else getattr(self, "_cells", 0) + (tag in ("td", "th"))

    def handle_data(self, data: str) -> None:
        for entry in self._open:
            entry[2] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self._open or self._open[-1][0] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1][0] if self._open else 'nothing'}")
            return
        _, found, text = self._open.pop()
        named = text.strip() or found.get("aria-label") or "data-value" in found
        if tag in ("button", "a", "summary") and not named:
            self.problems.append(f"<{tag}> without a name")
        if tag == "tr":
            self._wide = self._cells if self._wide is None else self._wide
            if self._cells != self._wide:
                self.problems.append(f"a row of {self._cells} cells in a table of {self._wide}")
        if tag == "table":
            self._wide = None

    def _check_names(self) -> None:
        ids = [found["id"] for _, found in self.tags if "id" in found]
        self.problems += [f"id {name} twice" for name in set(ids) if ids.count(name) > 1]
        labelled = {found.get("for") for tag, found in self.tags if tag == "label"}
        levels = [0, *(int(tag[1]) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag))]
        self.problems += [f"h{low} after h{high}" for high, low in itertools.pairwise(levels) if low > high + 1]
        for tag, found in self.tags:
            if tag == "img" and "alt" not in found:
                self.problems.append("<img> without alt")
            named = found[".label"] or found.get("aria-label") or found.get("id") in labelled
            if tag in ("input", "select", "progress") and not named:
                self.problems.append(f"<{tag}> without a label: {found}")
            if (link := found.get("href") or "").startswith("#") and link[1:] not in ids:
                self.problems.append(f"{link} leads nowhere")
