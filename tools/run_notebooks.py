"""The notebooks of docs/, executed where they lie.

    python -m tools.run_notebooks

writes their outputs, which the site shows, and prints how long each took; --times
writes nothing and times the default audit too. Needs ``pip install -e ".[test,slow]"``;
with ``torch`` the models of its notebook are trained instead of read.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

FOLDER = pathlib.Path(__file__).parent.parent / "docs" / "notebooks"


def executed(path: pathlib.Path, folder: pathlib.Path, timeout: float = 300) -> Any:
    """Returns the notebook with its outputs; raises at the first cell that fails.

    Args:
        path: An ``.ipynb`` file.
        folder: Where it runs, and leaves what it writes.
        timeout: Seconds for a cell.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=timeout, resources=resources, coalesce_streams=True
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, different in every run
        outputs = cell.get("outputs", [])
        # Warnings name paths of the machine that they were given on.
        outputs[:] = [out for out in outputs if out.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Executes every notebook in a scratch folder, and writes it back but for times."""
    import nbformat

    only_times = sys.argv[1:] == ["--times"]
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
            start = time.perf_counter()
            notebook = executed(path, pathlib.Path(folder))
            seconds = time.perf_counter() - start
        if not only_times:
            nbformat.write(notebook, path)
        print(f"{path.name}: {seconds:.0f} s", flush=True)
    if only_times:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [sys.executable, "-m", "sam_jax", "audit"]
            environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent.parent)}
            subprocess.run(
                command, cwd=folder, env=environment, check=True, capture_output=True
            )
        print(f"sam-jax audit: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
