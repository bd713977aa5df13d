"""Templates of all pages: jinja2 with autoescape, styles and scripts in the page itself."""

from __future__ import annotations

import functools

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

SHARED = "lddm.report"  # base.css, player.css, player.html and player.js are used by every page


@functools.cache
def environment(package: str = SHARED) -> Environment:
    """Templates in the folder `templates` of a package; those of the report are visible to all.

    Every value is escaped, and a name that the template uses and the caller does not pass is an error.
    """
    loaders = [PackageLoader(name, "templates") for name in dict.fromkeys((package, SHARED))]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def template(name: str, package: str = SHARED) -> Template:
    """A template by its file name, e.g. "report.html"."""
    return environment(package).get_template(name)
