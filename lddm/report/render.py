"""Templates of all pages: jinja2 with autoescape; styles and scripts are embedded in the page."""

from __future__ import annotations

import functools

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

SHARED = "lddm.report"  # base.css, player.css, player.html and player.js are used by every page


@functools.cache
def environment(package: str = SHARED) -> Environment:
    """Templates in the folder `templates` of a package; those of the report are available to all packages.

    All values are escaped. A variable that is not passed to the template raises an error.
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
