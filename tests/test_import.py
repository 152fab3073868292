"""What `import sam_jax` brings in, and that every public name is found all the same."""

import ast
import inspect
import pathlib
import subprocess
import sys

import sam_jax

HEAVY = (
    "flax",
    "fsspec",
    "jinja2",
    "matplotlib",
    "scipy",
    "tensorflow_datasets",
    "tqdm",
    "tyro",
)


def test_the_optimizers_import_without_the_rest():
    code = (
        "import sys, jax, optax; before = set(sys.modules); import sam_jax; "
        "sam_jax.sam(optax.sgd(0.1)); "
        f"print([n for n in {HEAVY} if n in set(sys.modules) - before])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert shown.stdout.strip() == "[]"


def test_the_help_of_the_command_waits_for_no_library():
    code = (
        "import sys; from sam_jax.cli.main import main; main(['--help']); "
        f"print([n for n in {('jax', 'optax', 'numpy', *HEAVY)} if n in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_every_public_name_is_found_and_is_what_type_checkers_see():
    tree = ast.parse(inspect.getsource(sam_jax))
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sam_jax")
        for alias in node.names
    }
    assert set(sam_jax._HOMES) <= set(homes)
    for name, home in homes.items():
        assert getattr(sam_jax, name) is getattr(sys.modules[home], name)
        assert name in dir(sam_jax)
    for name, home in sam_jax._HOMES.items():
        assert homes[name] == home


def test_every_package_is_an_attribute():
    root = pathlib.Path(sam_jax.__file__).parent
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    for name in packages - {"cli"}:
        assert inspect.ismodule(getattr(sam_jax, name))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(sam_jax, "aliases")
