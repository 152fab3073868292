"""docs/choosing.md names every attack, and what it needs as the code says."""

import pathlib
import re

import pytest

from experiments import conventions
from sam_jax.attacks import ATTACKS

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "choosing.md").read_text()
WORDS = {
    "in_models": "in",
    "out_models": "out",
    "population": "population",
    "tuning": "tuning",
}


def rows():
    """Attack -> the cell of what it needs."""
    table = PAGE[
        PAGE.index("| attack | score") : PAGE.index("Shadow models are trained")
    ]
    found = {}
    for line in table.strip().splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`(\w+)`", cells[0])
        found |= dict.fromkeys(names, cells[2])
    return found


def test_every_attack_is_listed_with_the_shadow_models_it_needs():
    listed = rows()
    assert set(listed) == set(ATTACKS)
    for name, attack in ATTACKS.items():
        if name in ("combined", "shadow_classifier"):
            continue  # in words
        needs = set(re.findall(r"\w+", listed[name]))
        for need, word in WORDS.items():
            if need in ("in_models", "out_models") and name.startswith(
                ("lira_online", "rmia_online")
            ):
                assert {"in", "out"} <= needs
                continue
            assert (word in needs) == (need in attack.needs), (name, need)


@pytest.mark.slow
def test_the_conventions_are_what_the_command_prints(capsys, monkeypatch):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])
    conventions.main(conventions.Config())
    printed = capsys.readouterr().out.splitlines()
    rows = [line for line in printed if line.startswith("|") and "---" not in line]
    assert len(rows) > 20
    missing = [row for row in rows if row not in PAGE]
    # The last digit may differ between machines.
    assert len(missing) <= 3, missing
