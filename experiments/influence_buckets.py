"""Does SAM gain on atypical test examples, by buckets of influence entropy?

    python -m experiments.influence_buckets

writes docs/results/influence_buckets.md from the tables of ``where_it_begins``: test
accuracy by bucket, for the cells with at least 32 models.
"""

from experiments.common.pages import Sweep, run_page
from experiments.memorization import group_tables


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# Influence buckets\n\n"
        "Made by `python -m experiments.influence_buckets`. Test examples in five "
        "equal buckets of the entropy of their positive influences, 1 the lowest "
        "(atypical), selected by one half of the models and measured by the other; 95 "
        "% intervals over models and examples, bold where they leave 0 out. "
        "Influences from 32 models are mostly noise, so the buckets are blurred. The "
        "paper reports SAM's gain largest in bucket 1 and none in bucket 5: the last "
        "line of each table is the difference of those two gains.\n"
        + group_tables(sweep, ("test accuracy", "gain"), "bucket")
    )


if __name__ == "__main__":
    run_page("influence_buckets", __doc__, page)
