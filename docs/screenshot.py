"""Takes docs/report.png, the upper part of a report as Chromium shows it.

Run: .venv/bin/python docs/screenshot.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).parent / "report.png"
COMMAND = ["report", "lstm_small", "--board", "ia420f"]
SIZE = 1366, 2990  # a laptop's width; down to the end of the schedule
COLOURS = 128  # of the palette: what keeps the file small


def main():
    """Write the report, and have Chromium take its picture."""
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        subprocess.run([sys.executable, "-m", "spiccato_cli", *COMMAND, "-o", page], check=True)
        # Chromium does not run as root inside its sandbox. Virtual time: wait for the charts.
        subprocess.run(
            [
                shutil.which("chromium"),
                "--headless",
                "--disable-gpu",
                "--hide-scrollbars",
                *["--no-sandbox"] * (os.geteuid() == 0),
                f"--user-data-dir={folder}/profile",
                "--virtual-time-budget=20000",
                f"--window-size={SIZE[0]},{SIZE[1]}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
        )
        with Image.open(picture) as image:
            image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
