"""The documentation as a site: built without a warning, complete, and it loads nothing from elsewhere."""

import asyncio
import re
import subprocess
import sys

import pytest

from paths import ROOT

pytest.importorskip("sphinx")

import chromium

#: What a page may load, as (expression for its address, files it is looked for in).
LOADED = [
    (r"<(?:script|img|iframe|source|video)\b[^>]*?\bsrc=\"([^\"]+)\"", "*.html"),
    (r"<link\b(?![^>]*\brel=\"(?:index|search|next|prev|canonical)\")[^>]*?\bhref=\"([^\"]+)\"", "*.html"),
    (r"url\(\s*[\"']?([^\"')]+)", "*.css"),
    (r"@import\s+[\"']([^\"']+)", "*.css"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder with the site, as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    recipe = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/installed", "docs"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    options = re.search(r"-m sphinx (.*) -d \S+ docs build/docs$", recipe, re.MULTILINE)[1].split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", folder / "doctrees", "docs", folder / "html"],
        cwd=ROOT,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0 and not done.stdout, done.stdout
    return folder / "html"


def test_pages(site):
    """A page for each Markdown file, all of them in the navigation, and in the README's list."""
    names = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert names <= {page.stem for page in site.glob("*.html")}
    navigation = set(
        re.findall(r'<a class="reference internal" href="([\w-]+)\.html">', (site / "index.html").read_text())
    )
    assert names - {"index"} <= navigation
    assert names - {"index"} <= set(re.findall(r"\]\(docs/([\w-]+)\.md\)", (ROOT / "README.md").read_text()))


@pytest.mark.parametrize(
    "name",
    [
        "spiccato.load",
        "spiccato.compile",
        "spiccato.config.Config",
        "spiccato.network.Network",
        "spiccato.compiler.Program",
        "spiccato.host.Device",
        "spiccato_sim.models.vm.VirtualMachine",
        "spiccato_sim.benches.simulate.simulate",
        "spiccato.verilog.write_verilog",
        "spiccato_boards.Board",
    ],
)
def test_python_reference(site, name):
    """What users call is there, with its docstring."""
    text = "".join((site / page).read_text() for page in ("api.html", "configuration.html"))
    entry = text[text.index(f'id="{name}"') :]
    assert len(re.sub(r"<[^>]+>", "", entry[: entry.index("</dd>")])) > 80


def test_loads_nothing_from_elsewhere(site):
    """Scripts, styles, fonts and pictures are files of the site."""
    found = 0
    for expression, pattern in LOADED:
        for file in site.rglob(pattern):
            for address in re.findall(expression, file.read_text()):
                if not address.startswith(("data:", "#")):
                    assert (file.parent / re.split("[?#]", address)[0]).is_file(), f"{file.name}: {address}"
                    found += 1
    assert found > 100


@pytest.mark.skipif(chromium.executable() is None, reason="Chromium is not installed")
def test_in_chromium(site, tmp_path):
    """A page with pictures: no complaints, nothing asked for that is no file, all pictures drawn, no scrolling."""

    async def look():
        async with chromium.open_page((site / "latency.html").as_uri(), tmp_path) as page:
            await page.until("document.readyState === 'complete'")
            pictures = await page.evaluate("[...document.querySelectorAll('article img')].map((i) => i.naturalWidth)")
            sideways = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            return pictures, sideways, page.complaints, page.requests

    pictures, sideways, complaints, requests = asyncio.run(look())
    assert len(pictures) == 2 and min(pictures) > 500
    assert (sideways, complaints) == (0, [])
    assert all(url.startswith(("file:", "data:")) for url in requests)
