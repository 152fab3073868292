"""The wheel, installed without the repository: what ships is enough for an audit."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent

pytest.importorskip("build", reason="needs build: pip install -e '.[slow]'")
pytestmark = pytest.mark.slow


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_is_small_and_passes_twine(wheel):
    assert wheel.stat().st_size < 10_000_000
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, cwd=wheel.parent)
    names = zipfile.ZipFile(wheel).namelist()
    assert "sam_jax/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]


def test_an_audit_runs_from_the_wheel_alone(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    bin_folder = tmp_path / "venv" / "bin"
    run(bin_folder / "pip", "install", "-q", wheel, cwd=tmp_path)
    assert "audit" in run(bin_folder / "sam-jax", "--help", cwd=tmp_path)
    options = ("--pool-size", "200", "--num-models", "4", "--num-epochs", "2")
    shown = run(bin_folder / "sam-jax", "audit", *options, cwd=tmp_path)
    assert "lira_online AUC" in shown
    assert "</html>" in (tmp_path / "runs/audit/default/report.html").read_text()
