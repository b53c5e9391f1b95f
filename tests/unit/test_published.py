"""The published figures: the newest ones, and what follows from them."""

import pytest

from spiccato_boards import boards, find
from spiccato_sim.analysis import published
from spiccato_sim.models.zoo import MODELS

pytestmark = pytest.mark.fast


def test_newest_version_is_taken():
    found = published.latency("v80", "lstm_large")
    assert (found.mean_us, found.p99_us, found.version) == (7.3, 7.4, "27.1")
    # Published three times, the newest last.
    assert published.latency("ia840f", "lstm_tiny") == published.PublishedLatency(1.7, 1.8, "27.1")


def test_all_newest_figures_are_of_one_version():
    found = [published.latency(board, model) for board in boards() for model in MODELS]
    assert {latency.version for latency in found if latency} == {"27.1"}
    assert all(latency.mean_us <= latency.p99_us for latency in found if latency)


def test_models_that_do_not_fit_have_no_figure():
    missing = {
        (board, model) for board in published.boards() for model in MODELS if published.latency(board, model) is None
    }
    assert missing == {
        ("ia840f", "lstm_large"),
        ("ia420f", "lstm_med"),
        ("ia420f", "lstm_med_deep"),
        ("ia420f", "lstm_large"),
    }
    assert published.compute_us("ia420f", "lstm_large", 960) is None
    assert published.latency("ulx3s", "lstm_tiny") is None


@pytest.mark.parametrize(
    ("input_bytes", "expected_us"),
    [(1, 0.89), (64, 0.89), (256, 0.88), (384, 0.895), (1024, 0.97), (1920, 1.075), (4096, 1.35)],
)
def test_round_trip(input_bytes, expected_us):
    assert published.round_trip_us(input_bytes) == pytest.approx(expected_us)


@pytest.mark.parametrize("input_bytes", [0, 4097])
def test_round_trip_beyond_the_table(input_bytes):
    with pytest.raises(ValueError, match=f"no published round trip for {input_bytes} bytes"):
        published.round_trip_us(input_bytes)


@pytest.mark.parametrize(
    ("board", "cycles"), [("v80", (156, 327, 671, 711, 1866)), ("ia840f", (262, 381, 555, 694)), ("ia420f", (262, 445))]
)
def test_compute_in_cycles(board, cycles):
    """Against the figures of the reference design, whose tables are rounded to 15 cycles."""
    for model, expected in zip(MODELS.values(), cycles):
        compute = published.compute_us(board, model.name, model.hidden_size)
        assert compute * find(board).config.clock_mhz == pytest.approx(expected, abs=15)


def test_resources():
    assert published.resources(6, 32) == {"logic": 231_000, "dsp": 3_744, "m20k": 5_824}
    assert published.resources(3, 64) == {"logic": 308_000, "dsp": 7_200, "m20k": 8_631}
    assert published.resources(12, 32) is None


@pytest.mark.parametrize("file", ["published_latency.csv", "published_io.csv", "published_resources.csv"])
def test_data_files_tell_where_they_come_from(file):
    assert "Vollo" in published.source(file)
    assert "docs/mdbook" in published.source(file)
