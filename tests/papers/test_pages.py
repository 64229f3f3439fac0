"""Every number on a page of doc/papers stands in the output printed below it."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "doc" / "papers"
# Numbers that no run of ours gives: of papers, of data, of settings.
FROM_ELSEWHERE = {
    "amortisation_gap": {"39,500"},  # steps of the paper's training
    "decoupled_encoding": {"0.566", "0.61", "150"},  # the authors' results; intents of CLINC
    "width": {"16", "3"},  # parents and children of the synthetic data
}
NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w,.]*\d)( %)?")
NOT_RESULTS = re.compile(  # citations, code, names
    r"^\.\. \[\d\] .*(\n +.*)*|`[^`]*`|\[\d\]_|section [\w.]+|ICML \d+|Pythia-\w+", re.MULTILINE
)


def numbers(text):
    """The numbers of a text, as written and as floats, shares among them for percents."""
    found = {}
    for match in NUMBER.finditer(text):
        value = float(match[0].removesuffix(" %").replace(",", ""))
        found[match[0].removesuffix(" %")] = {value, round(value / 100, 6)} if match[1] else {value}
    return found


@pytest.mark.parametrize("page", sorted(p.stem for p in PAGES.glob("*.rst") if p.stem != "index"))
def test_every_number_is_in_the_output(page):
    # Catches a page that was not read again after its experiment had been run again.
    said = numbers(NOT_RESULTS.sub(" ", (PAGES / f"{page}.rst").read_text("utf-8")))
    printed = re.sub(r"[\^=+]", " ", (PAGES / f"{page}.txt").read_text("utf-8"))
    printed = {float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\.?\d*|\.\d+", printed)}
    missing = {word for word, values in said.items() if not values & printed}
    assert len(said) > 20
    assert missing == FROM_ELSEWHERE.get(page, set())
