"""The notebooks of docs/, executed from end to end."""

import shutil

import pytest

from tools.run_notebooks import FOLDER, executed

pytest.importorskip("ipykernel", reason="needs Jupyter: pip install -e '.[slow]'")
nbformat = pytest.importorskip("nbformat")
pytestmark = pytest.mark.slow


def kinds_of_output(notebook):
    """For each cell: text, an image, a rich result."""
    return [
        {key for out in cell.get("outputs", ()) for key in out.get("data", {"text": 1})}
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_runs_and_shows_what_the_site_shows(path, tmp_path):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    fresh = executed(path, tmp_path)
    assert kinds_of_output(fresh) == kinds_of_output(nbformat.read(path, 4))
