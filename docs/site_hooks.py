"""Hook of mkdocs: pages whose source lies outside docs/, and the links from and to them."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

OUTSIDE = {"config/README.md": "configuration.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
SOURCES = {page: source for source, page in OUTSIDE.items()}
LINK = re.compile(r"(\]\()([^)#:\s]+)(?=[)#])")


def on_files(files, config):
    """Add the pages."""
    root = Path(config.config_file_path).parent
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links that are relative to the source in the repository into links within the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def moved(link):
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(target, posixpath.dirname(here) or ".")

    markdown = LINK.sub(moved, markdown)
    if here == "configuration.md":
        keys = (Path(config.config_file_path).parent / "config/config.yaml").read_text(encoding="utf-8")
        markdown = f"# Configuration\n\n{markdown}\n## All keys and their defaults\n\n```yaml\n{keys}```\n"
    return markdown
