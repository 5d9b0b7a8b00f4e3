import numpy as np
import pytest

from mistudio_datasets.data.tokens.statistics import PERCENTILES, Lengths, figures, histogram_edges
from mistudio_datasets.domain.statistics import TokenizationStatistics


def counted(*batches: list[int]) -> Lengths:
    lengths = Lengths()
    for batch in batches:
        lengths.add(np.array(batch, np.int64))
    return lengths


def test_figures_equal_those_of_the_whole_array() -> None:
    values = np.random.default_rng(1).lognormal(4, 2, 20_000).astype(np.int64)
    lengths = counted(*(part.tolist() for part in np.array_split(values, 7)))
    assert (lengths.documents, lengths.tokens) == (20_000, values.sum())
    assert (lengths.shortest, lengths.longest) == (values.min(), values.max())
    assert lengths.empty_documents == (values == 0).sum()
    for percent in PERCENTILES:
        assert lengths.percentile(percent) == pytest.approx(float(np.percentile(values, percent)))


def test_every_document_is_in_exactly_one_bin() -> None:
    lengths = counted([0, 0, 1, 2, 3, 5, 6, 100, 1_000_000])
    bins = lengths.histogram()
    assert sum(bin_.documents for bin_ in bins) == 9
    assert (bins[0].from_tokens, bins[0].to_tokens, bins[0].documents) == (0, 1, 2)
    assert bins[-1].from_tokens <= 1_000_000 < bins[-1].to_tokens
    assert [a.to_tokens for a in bins[:-1]] == [b.from_tokens for b in bins[1:]]


def test_bins_are_log_spaced() -> None:
    assert histogram_edges(25) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


def test_no_documents_give_zeros() -> None:
    statistics = figures(Lengths(), np.zeros(4, np.int64), 4, ["a", "b", "c", "d"])
    assert (statistics.documents, statistics.mean_tokens, statistics.top_tokens) == (0, 0.0, ())


def test_top_tokens_come_by_count_then_id() -> None:
    statistics = figures(counted([6]), np.array([1, 0, 3, 3]), 4, ["a", "b", "c", "d"])
    assert [(top.token_id, top.token, top.count) for top in statistics.top_tokens] == [
        (2, "c", 3), (3, "d", 3), (0, "a", 1)
    ]  # fmt: skip
    assert statistics.vocabulary_used == 3


def test_statistics_survive_json() -> None:
    statistics = figures(counted([1, 2]), np.array([1, 2]), 2, ["a", "b"])
    assert TokenizationStatistics.from_json(statistics.to_json()) == statistics


def test_every_percentile_is_told_and_statistics_kept_with_fewer_stay_readable() -> None:
    statistics = figures(counted(list(range(101))), np.zeros(1, np.int64), 1, ["a"])
    assert [(each.percentile, each.tokens) for each in statistics.percentiles] == [(n, n) for n in range(1, 100)]
    older = statistics.to_json() | {"percentiles": [{"percentile": 50.0, "tokens": 50.0}]}
    assert [each.tokens for each in TokenizationStatistics.from_json(older).percentiles] == [50.0]
