"""How group sizes are summarized, and shown in the tables of the benchmarks."""

from bench.latency import group_figures
from marketplace.groups import GroupSizes


def test_quantiles_are_of_groups_and_the_mean_is_of_all() -> None:
    assert GroupSizes.of({1: 90, 10: 9, 60: 1}) == GroupSizes(
        groups=100, mean=2.4, p50=1, p99=60, largest=60
    )


def test_groups_are_told_in_plain_english() -> None:
    assert str(GroupSizes.of({1: 1_990, 7: 9, 40: 1})) == (
        "2,000 groups of 1.0 commands on average; half had at most 1, 99 % at most 1,"
        " the largest 40"
    )
    assert str(GroupSizes.of({})) == "none"


def test_a_benchmark_shows_what_its_load_reports() -> None:
    figures = group_figures("latency", GroupSizes.of({2: 3, 6: 1}).to_json())
    assert [(each.name, each.value) for each in figures] == [
        ("commands in a group, mean", 3.0),
        ("commands in a group, p50", 2),
        ("commands in a group, p99", 6),
        ("commands in a group, largest", 6),
    ]
