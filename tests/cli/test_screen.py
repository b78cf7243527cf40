"""Lines and tables within a width."""

from __future__ import annotations

import pytest

from aden_transport.cli.screen import Column, Screen, flow, table

COLUMNS = (Column("what", 20), Column("n", 5), Column("cost", 9))


def test_parts_stand_beside_each_other_while_they_fit() -> None:
    assert flow(["one", "two", "three"], 12) == ["  one  two", "  three"]


def test_a_part_that_is_longer_than_a_line_is_wrapped_at_words() -> None:
    assert flow(["one two three four", "five"], 12) == ["  one two", "    three", "    four", "  five"]


def test_what_can_be_copied_stays_in_one_piece() -> None:
    assert flow(["run a-b-c-d-e-f-g-h"], 10) == ["  run", "    a-b-c-d-e-f-g-h"]


def test_a_table_aligns_figures_to_the_right() -> None:
    assert table(COLUMNS, [["a", "1", "$2"]], 80) == [
        "what                      n       cost",
        "a                         1         $2",
    ]


@pytest.mark.parametrize("width", [38, 34, 30])
def test_a_name_that_does_not_fit_stands_whole_on_a_line_before_its_figures(width: int) -> None:
    names = ["a name of some length 1", "a name of some length 2"]
    titles, *lines = table(COLUMNS, [[name, "1", "$2"] for name in names], width)
    assert [lines[0], lines[2]] == names
    assert lines[1] == lines[3] == "1         $2".rjust(width)
    assert len(titles) == width


def test_a_name_has_an_end() -> None:
    name, figures = table(COLUMNS, [["a" * 5000, "1", "$2"]], 80)[1:]
    assert (len(name), name[-3:], figures.split()) == (256, "a..", ["1", "$2"])


@pytest.mark.parametrize(("columns", "width"), [("80", 79), ("10", 40), ("400", 100)])
def test_a_screen_is_neither_too_narrow_nor_too_wide(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen().width == width


def test_what_the_stream_cannot_encode_is_shown_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Screen().show("Zürich")
    assert raw.getvalue() == b"Z\\xfcrich\n"
