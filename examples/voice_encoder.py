"""Prepares a published voice encoder and speech for the accelerator: a trained network of the size of lstm_small.

    python examples/voice_encoder.py FOLDER PRETRAINED.pt CALIBRATION.wav SPEECH.wav...

The network is Resemblyzer's (Apache 2.0; `pretrained.pt` in the Python package of that name): three LSTM layers of 256
and a linear one, trained to tell voices apart. Its inputs are 40 mel bands, every 10 ms, of 16 kHz recordings: any
speech will do; docs/accuracy.md names what was measured. Writes voice_encoder.safetensors, calibration.npy and
speech.npy to FOLDER:

    spiccato estimate voice_encoder.safetensors --calibration calibration.npy --input speech.npy
"""

import argparse
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spiccato.importers import save_safetensors
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network

RATE, WINDOW, STEP, BANDS = 16000, 400, 160, 40
LAYERS = 3
LOUDNESS_DB = -30  # recordings that are less loud are amplified to this, relative to full scale
FULL_SCALE = 1 << 15
# Slaney's mel scale: linear below 1 kHz, then steps of log(6.4) / 27.
LINEAR_HZ, BREAK_HZ, LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def network(path: Path) -> Network:
    """The encoder, without what it does to the last output of an utterance."""
    state = torch.load(path, map_location="cpu", weights_only=False)["model_state"]
    arrays = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm = [LSTMLayer(*(arrays[f"lstm.{field}_l{k}"] for field in fields)) for k in range(LAYERS)]
    return Network((*lstm, LinearLayer(arrays["linear.weight"], arrays["linear.bias"])), "voice_encoder")


def recording(paths: Sequence[Path]) -> NDArray[np.float64]:
    """Recordings one after the other, (samples,), as loud as the network wants them."""
    parts = []
    for path in paths:
        with wave.open(str(path)) as file:
            kind = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if kind != (RATE, 1, 2):
                raise SystemExit(f"{path}: {kind} Hz, channels, bytes a sample; expected {(RATE, 1, 2)}")
            parts.append(np.frombuffer(file.readframes(file.getnframes()), "<i2") / FULL_SCALE)
    samples = np.concatenate(parts)
    loudness = 10 * np.log10(np.mean(samples**2))
    return samples * 10 ** (max(0.0, LOUDNESS_DB - loudness) / 20)


def filters() -> NDArray[np.float64]:
    """(bands, frequencies): triangles of equal area."""
    top = BREAK_HZ / LINEAR_HZ + np.log(RATE / 2 / BREAK_HZ) / LOG_STEP
    mels = np.linspace(0, top, BANDS + 2)
    beyond = mels - BREAK_HZ / LINEAR_HZ
    edges = np.where(beyond < 0, LINEAR_HZ * mels, BREAK_HZ * np.exp(LOG_STEP * beyond))
    away = edges[:, None] - np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    widths = np.diff(edges)
    triangles = np.minimum(-away[:-2] / widths[:-1, None], away[2:] / widths[1:, None])
    return np.maximum(0, triangles) * (2 / (edges[2:] - edges[:-2]))[:, None]


def mel_bands(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    """(steps, bands): powers."""
    padded = np.pad(samples, WINDOW // 2)
    window = np.hanning(WINDOW + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP] * window
    return (np.abs(np.fft.rfft(frames)) ** 2 @ filters().T).astype(np.float32)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pretrained", type=Path)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("speech", type=Path, nargs="+")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    save_safetensors(network(given.pretrained), given.folder / "voice_encoder.safetensors")
    for name, paths in (("calibration", [given.calibration]), ("speech", given.speech)):
        np.save(given.folder / f"{name}.npy", mel_bands(recording(paths)))


if __name__ == "__main__":
    main()
