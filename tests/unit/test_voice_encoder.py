"""The example that prepares a published voice encoder: with a network and recordings of the same form."""

import importlib.util
import sys
import wave

import numpy as np
import pytest

from spiccato_sim.models import zoo
from spiccato_sim.models.reference import Reference

torch = pytest.importorskip("torch")

spec = importlib.util.spec_from_file_location("voice_encoder", zoo.EXAMPLES / "voice_encoder.py")
voice_encoder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(voice_encoder)

SIZE, SECONDS = 8, 0.5


def record(path, frequency):
    """A tone of that frequency as a file."""
    samples = 3000 * np.sin(2 * np.pi * frequency * np.arange(int(SECONDS * voice_encoder.RATE)) / voice_encoder.RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(voice_encoder.RATE)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def pretrained(tmp_path):
    """A checkpoint with the published one's names."""
    modules = {
        "lstm": torch.nn.LSTM(voice_encoder.BANDS, SIZE, voice_encoder.LAYERS),
        "linear": torch.nn.Linear(SIZE, SIZE),
    }
    state = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    torch.save({"model_state": state}, tmp_path / "pretrained.pt")
    return tmp_path / "pretrained.pt", modules


def test_files(tmp_path, pretrained, monkeypatch):
    """The network computes what PyTorch does, and a tone is in the band that it belongs to."""
    path, modules = pretrained
    for frequency in (500, 3000):
        record(tmp_path / f"{frequency}.wav", frequency)
    names = [str(tmp_path / name) for name in ("out", path.name, "500.wav", "500.wav", "3000.wav")]
    monkeypatch.setattr(sys, "argv", ["voice_encoder.py", *names])
    voice_encoder.main()
    network = zoo.resolve(str(tmp_path / "out" / "voice_encoder.safetensors"))
    speech = np.load(tmp_path / "out" / "speech.npy")
    steps = int(SECONDS * voice_encoder.RATE) // voice_encoder.STEP
    assert len(np.load(tmp_path / "out" / "calibration.npy")) == steps + 1 and len(speech) == 2 * steps + 1
    outputs = Reference(network).run(speech.astype(np.float64))
    with torch.no_grad():
        expected = modules["linear"](modules["lstm"](torch.tensor(speech)[:, None])[0])[:, 0]
    assert outputs == pytest.approx(expected.numpy(), abs=1e-5)
    edges = np.array([band @ np.linspace(0, voice_encoder.RATE / 2, len(band)) for band in voice_encoder.filters()])
    centres = edges / voice_encoder.filters().sum(axis=1)
    for step, frequency in ((steps // 2, 500), (3 * steps // 2, 3000)):
        assert centres[speech[step].argmax()] == pytest.approx(frequency, rel=0.1)


def test_other_recordings_are_refused(tmp_path):
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
    with pytest.raises(SystemExit, match=r"stereo\.wav: \(8000, 2, 2\) Hz"):
        voice_encoder.recording([tmp_path / "stereo.wav"])
