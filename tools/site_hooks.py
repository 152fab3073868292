"""Hooks of the documentation's site: pages from outside of docs/, and their links."""

import pathlib
import posixpath
import re
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "sam_jax/data/embedded/README.md": "embedded_data.md",
}
"""File of the repository -> page of the site."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


class ExampleSections(griffe.Extension):
    """Reads an ``Example`` of a docstring as code, as griffe does with ``Examples``."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the section of one object's docstring."""
        if obj.docstring:
            written = obj.docstring.value
            obj.docstring.value = written.replace("Example:\n", "Examples:\n")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that lie outside of docs/."""
    for source, page in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Points links between files of the repository at pages of the site.

    A link to a file that is no page keeps its words; one to nowhere stays as it is, so
    that the strict build reports it.
    """
    del config
    at = page.file.src_uri
    sources = {target: source for source, target in PAGES.items()}
    folder = posixpath.dirname(sources.get(at, f"docs/{at}"))

    def rewritten(match: re.Match[str]) -> str:
        mark, words, link, anchor = match.groups(default="")
        source = posixpath.normpath(posixpath.join(folder, link))
        target = PAGES.get(source, source.removeprefix("docs/"))
        if files.get_file_from_path(target) is not None:
            link = posixpath.relpath(target, posixpath.dirname(at) or ".")
            return f"{mark}[{words}]({link}{anchor})"
        if files.get_file_from_path(f"{target}/README.md") is not None:
            link = posixpath.relpath(target, posixpath.dirname(at) or ".")
            return f"[{words}]({link}/README.md{anchor})"
        return words if (ROOT / source).exists() else match.group()

    return _LINK.sub(rewritten, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Points links of notebooks at pages; MkDocs does so in Markdown alone."""
    del config, files
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'href="\.\./([\w/]+)\.md(#[^"]*)?"', r'href="../../\1/\2"', html)
