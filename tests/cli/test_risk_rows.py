"""Rows of ``risk.csv`` are those of the user's file."""

import csv

import numpy as np
import pytest
import tyro

from sam_jax.cli import audit

SMALL = ["--num-models", "4", "--num-epochs", "1", "--batch-size", "16"]
SMALL += ["--optimizers", "sgd", "--attacks", "loss"]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 6)).astype(np.float32)
Y = RNG.integers(0, 10, 160)
NAMES = np.array([f"patient {i}" for i in range(160)])


@pytest.mark.parametrize("layout", ["pool of four arrays", "x and y"])
def test_labels_and_names_are_those_of_the_row(tmp_path, monkeypatch, layout):
    monkeypatch.chdir(tmp_path)
    arrays = {"x": X, "y": Y, "id": NAMES}
    options = ["--pool-size", "0"]
    if layout == "pool of four arrays":
        arrays = {"x_train": X, "y_train": Y, "id_train": NAMES}
        arrays |= {"x_test": X[:40] + 1, "y_test": Y[:40]}
        options = ["--pool-size", "90"]
    np.savez("mine.npz", **arrays)
    settings = [*SMALL, *options, "--dataset", "mine.npz"]
    audit.main(tyro.cli(audit.Config, args=settings))
    with open("runs/audit/default/risk.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (90 if layout == "pool of four arrays" else 128)
    assert {row["split"] for row in rows} == {next(iter(arrays))}
    for row in rows:
        assert int(row["label"]) == Y[int(row["row"])]
        assert row["id"] == NAMES[int(row["row"])]
