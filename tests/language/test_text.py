"""Texts: files, folders, Python's own; and each mistake named."""

import shutil
from pathlib import Path

import pytest

from edgekd.errors import BadInputError
from edgekd.language import text


def test_files_come_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    found = text.read((str(tmp_path / "b.txt"), str(tmp_path / "a.txt")))
    assert found.content == "second\n\n\nfirst"


def test_a_folder_is_its_text_files_sorted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, content in (("z.md", "three"), ("a.rst", "one"), ("deep/b.txt", "two"), ("c.bin", "never")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert text.read((str(tmp_path),)).content == "one\n\ntwo\n\nthree"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffwords".encode())
    assert text.read((str(tmp_path / "a.txt"),)).content == "words"


def test_only_so_many_characters_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0123456789", encoding="utf-8")
    assert text.read((str(tmp_path / "a.txt"),), most_characters=4).content == "0123"


def test_pythons_own_reference_is_read_where_it_lies() -> None:
    found = text.read(("python-reference",))
    assert len(found.content) > 300_000
    assert 'The "if" statement' in found.content


def test_what_is_not_utf8_is_named_with_its_byte(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(BadInputError, match=r"latin\.txt: byte 3 \(0xe9\) is no UTF-8.*iconv"):
        text.read((str(tmp_path / "latin.txt"),))


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_an_empty_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"a\.txt: is empty"):
        text.read((str(tmp_path / "a.txt"),))


def test_a_missing_file_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"python-referense: no such file; did you mean 'python-reference'"):
        text.read((str(tmp_path / "python-referense"),))


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path)
    with pytest.raises(BadInputError, match=r"has no \.txt, \.rst, \.md file"):
        text.read((str(tmp_path),))
