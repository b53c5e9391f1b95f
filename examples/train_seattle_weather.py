"""Trains seattle_weather.safetensors: tomorrow's highest temperature in Seattle, from six raw daily features.

    python examples/train_seattle_weather.py [FILE]

Needs PyTorch 2.13.0 beside spiccato[test]; takes about ten seconds on one CPU core, always with the same
result on the same machine. Trains on 2012 and 2013, keeps the epoch that is best on 2014, and reports 2015.

The network is trained on normalised features. Normalisation is then folded into the first layer's input
weights and bias, so that the file takes raw units, and a calibration tensor tells the compiler how large each
feature gets.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import torch

from spiccato.importers import load_network, save_safetensors
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato_sim.models.bfloat16 import round_bfloat16
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.series import Split, load

NAME = "seattle_weather"
SEED = 0
HIDDEN, LAYERS = 48, 2
EPOCHS, BATCHES, BATCH, WINDOW = 30, 11, 16, 64  # WINDOW: days in a training sequence
WARM_UP = 4  # days at the start of a sequence that do not count: the state is still empty
NOISE, DROPOUT = 0.3, 0.5  # against overfitting: noise on the normalised features, dropout
OUTPUT_SCALE = 3.0  # degrees C that an output of 1 means in training
CALIBRATION_STEPS = 64


class Forecaster(torch.nn.Module):
    """LSTM and linear layer: (steps, batch, features) -> (steps, batch), in units of OUTPUT_SCALE."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(features, HIDDEN, LAYERS, dropout=DROPOUT)
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.fc = torch.nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.lstm(x)[0]))[..., 0]


def train(part: Split, validation: Split, mean: np.ndarray, std: np.ndarray) -> Forecaster:
    """The model after its best epoch by mean absolute error on `validation`."""

    def tensors(data: Split) -> tuple[torch.Tensor, torch.Tensor]:
        change = (data.targets - data.current) / OUTPUT_SCALE
        return torch.tensor((round_bfloat16(data.inputs) - mean) / std).float(), torch.tensor(change).float()

    inputs, changes = tensors(part)
    check_inputs, check_changes = tensors(validation)
    model = Forecaster(inputs.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    best, best_state = float("inf"), {}
    for epoch in range(EPOCHS):
        model.train()
        for _ in range(BATCHES):
            days = torch.randint(0, len(inputs) - WINDOW, (BATCH,)) + torch.arange(WINDOW)[:, None]
            x = inputs[days]
            error = model(x + NOISE * torch.randn_like(x)) - changes[days]
            optimizer.zero_grad()
            error[WARM_UP:].abs().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = (model(check_inputs[:, None])[:, 0] - check_changes).abs().mean().item()
        print(f"epoch {epoch:2}: {OUTPUT_SCALE * loss:.3f} degrees C on 2014{' *' * (loss < best)}")
        if loss < best:
            best, best_state = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return model


def fold(model: Forecaster, mean: np.ndarray, std: np.ndarray, calibration: np.ndarray) -> Network:
    """The model as a network from raw features to a change in degrees C, in float32."""
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    state["lstm.weight_ih_l0"] /= std
    state["lstm.bias_ih_l0"] -= state["lstm.weight_ih_l0"] @ mean
    state["fc.weight"] *= OUTPUT_SCALE
    state["fc.bias"] *= OUTPUT_SCALE
    state = {name: array.astype(np.float32) for name, array in state.items()}
    fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm = [LSTMLayer(*(state[f"lstm.{field}_l{k}"] for field in fields)) for k in range(LAYERS)]
    return Network((*lstm, LinearLayer(state["fc.weight"], state["fc.bias"])), NAME, calibration)


def main() -> None:
    """Train the network, write its file, and report how good it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", default=Path(__file__).with_name(f"{NAME}.safetensors"), type=Path)
    path = parser.parse_args().file
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    task = load(NAME)
    streamed = round_bfloat16(task.train.inputs)  # what the accelerator will see
    mean, std = streamed.mean(axis=0), streamed.std(axis=0)
    model = train(task.train, task.validation, mean, std)
    every = len(streamed) // CALIBRATION_STEPS  # all seasons
    save_safetensors(fold(model, mean, std, streamed[::every][:CALIBRATION_STEPS]), path)

    forecast = task.metric(task.predict(Reference(load_network(path)).run(task.inputs)))
    print(f"{path}: {path.stat().st_size} bytes")
    print(f"{task.metric_name} on 2015: {forecast:.3f} {task.metric_unit}, persistence {task.baseline():.3f}")


if __name__ == "__main__":
    main()
