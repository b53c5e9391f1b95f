"""The node tests for LSTM, GRU and RNN that the onnx package ships: right numbers or a refusal that says why."""

import pytest

from node_tests import PAGE, models, outcome, page, table

pytestmark = pytest.mark.fast

MODELS = {name: (model, x, outputs) for name, model, (x,), outputs in models()}
PASSING = {
    "test_lstm_defaults",
    "test_lstm_with_initial_bias",
    "test_lstm_batchwise",
    "test_gru_defaults, linear_before_reset=1",
    "test_gru_with_initial_bias, linear_before_reset=1",
    "test_gru_seq_length, linear_before_reset=1",
    "test_gru_batchwise, linear_before_reset=1",
}
#: What a refusal says, by a part of the test's name; the first that fits.
REASONS = {
    "reverse": "direction reverse is not supported; supported: forward",
    "bidirectional": "direction bidirectional is not supported; supported: forward",
    "peepholes": "peephole weights 'P' that are not zero",
    "rnn": "a plain recurrent layer is none of the accelerator's",
    "gru": "linear_before_reset=0, whose reset gate needs h before the recurrent product, is not supported",
}


@pytest.mark.parametrize("name", MODELS)
def test_node_tests(name):
    refusal = outcome(*MODELS[name])
    if name in PASSING:
        assert refusal is None
    else:
        kind = MODELS[name][0].graph.node[0].op_type
        reason = REASONS["rnn"] if kind == "RNN" else next(text for part, text in REASONS.items() if part in name)
        assert f"({kind})" in refusal and reason in refusal


def test_the_table_in_the_docs_is_made_from_them():
    assert page(table()) == PAGE.read_text(), "run: python tests/support/node_tests.py"
