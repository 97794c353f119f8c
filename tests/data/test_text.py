"""Text files are read record by record, and every fault in one is named by file and line."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.data.text import RECORD_BYTES, Columns, is_text_file, read_texts
from edgekd.errors import BadInputError

ALL = Columns(text="body", label="topic", id="key", group="author")


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


CONTENT = {
    "all.csv": 'key,topic,body,author\nk1,sport,"a, goal\nin two lines",ann\nk2,,"she said ""no""",bob\n',
    "all.tsv": 'key\ttopic\tbody\tauthor\nk1\tsport\t"a, goal\nin two lines"\tann\nk2\t\tshe said "no"\tbob\n',
    "all.jsonl": '{"key": "k1", "topic": "sport", "body": "a, goal\\nin two lines", "author": "ann"}\n\n'
    '{"key": "k2", "topic": null, "body": "she said \\"no\\"", "author": "bob"}\n',
}


@pytest.mark.parametrize("name", CONTENT)
def test_a_file_of_each_form_gives_the_same_texts_labels_ids_and_groups(tmp_path: Path, name: str) -> None:
    found = read_texts(written(tmp_path, name, CONTENT[name]), ALL)
    assert found.texts == ["a, goal\nin two lines", 'she said "no"']
    assert found.labels == ["sport", None]
    assert found.ids == ["k1", "k2"] and found.groups == ["ann", "bob"]
    assert found.lines == ([1, 3] if name.endswith("jsonl") else [2, 4])


def test_columns_called_id_and_group_are_taken_where_they_are(tmp_path: Path) -> None:
    found = read_texts(written(tmp_path, "a.csv", "id,text,label,group\n7,hello,x,ann\n"), Columns())
    assert found.ids == ["7"] and found.groups == ["ann"]
    found = read_texts(written(tmp_path, "b.jsonl", '{"id": 7, "text": "hello", "label": "x"}\n'), Columns())
    assert found.ids == ["7"] and found.groups is None
    with pytest.raises(BadInputError, match=r"column 'key' is missing .* or set data\.text\.id_column"):
        read_texts(tmp_path / "a.csv", Columns(id="key"))


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", b"\xef\xbb\xbftext,label\r\nhello,x\r\nworld,y\r\n")
    found = read_texts(path, Columns())
    assert found.texts == ["hello", "world"] and found.labels == ["x", "y"]


def test_whole_numbers_are_labels_in_json(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "hello", "label": 3}\n{"text": "no label at all"}\n')
    assert read_texts(path, Columns()).labels == ["3", None]


cells = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(cells, min_size=1, max_size=5))
def test_any_text_comes_back_from_csv_and_json_as_it_was_written(tmp_path: Path, texts: list[str]) -> None:
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    table = written(tmp_path, "a.csv", "text,label\n" + "".join(f"{text},x\n" for text in quoted))
    lines = written(tmp_path, "a.jsonl", "".join(json.dumps({"text": t, "label": "x"}) + "\n" for t in texts))
    assert read_texts(table, Columns()).texts == texts
    assert read_texts(lines, Columns()).texts == texts


BAD = {
    "not UTF-8": (
        "a.csv",
        b"text,label\nfine,x\ncaf\xe9,x\n",
        r"a\.csv:3: byte 4 of the line is 0xe9, which is not UTF-8",
    ),
    "UTF-16": ("a.csv", "text,label\nfine,x\n".encode("utf-16"), r"a\.csv:1: is UTF-16; expected UTF-8: iconv"),
    "not UTF-8 in JSON": ("a.jsonl", b'{"text": "caf\xe9"}\n', r"a\.jsonl:1: byte 14 of the line is 0xe9"),
    "empty file": ("a.csv", "", r"a\.csv: holds no records"),
    "header only": ("a.tsv", "text\tlabel\n", r"a\.tsv: holds no records"),
    "empty text": ("a.csv", "text,label\nfine,x\n  ,x\n", r"a\.csv:3: column 'text' is empty"),
    "empty text in JSON": ("a.jsonl", '{"text": "", "label": "x"}\n', r"a\.jsonl:1: column 'text' is empty"),
    "no text column": ("a.csv", "body,label\nfine,x\n", r"a\.csv:1: column 'text' is missing \(found: body, label\)"),
    "near miss": ("a.csv", "text,labels\nfine,x\n", r"column 'label' is missing .*did you mean 'labels'"),
    "twice": ("a.csv", "text,text,label\nfine,so,x\n", r"a\.csv:1: column 'text' stands twice"),
    "no text key": ("a.jsonl", '{"txt": "fine"}\n', r"a\.jsonl:1: 'text' is missing \(found: txt\)"),
    "text of another type": ("a.jsonl", '{"text": 3}\n', r"a\.jsonl:1: 'text' is 3; expected a string"),
    "label of another type": ("a.jsonl", '{"text": "a", "label": 0.5}\n', r"a\.jsonl:1: 'label' is 0\.5; expected a"),
    "no JSON": ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: no JSON .*expected an object a line"),
    "an array": ("a.jsonl", "[1]\n", r"a\.jsonl:1: found list; expected an object a line"),
    "half a letter": ("a.jsonl", '{"text": "\\ud800"}\n', r"a\.jsonl:1: 'text' holds half of a surrogate pair"),
    "too few columns": ("a.csv", "text,label\nfine,x\nonly\n", r"a\.csv:3: 1 columns; expected 2"),
    "too many columns": ("a.csv", "text,label\nwell, then,x\n", r"a\.csv:2: 3 columns; expected 2.*put quotes"),
    "open quote": ("a.csv", 'text,label\nfine,x\n"never closed,x\nmore,x\n', r"a\.csv:3: .*quotes that are closed"),
    "long line": (
        "a.csv",
        "text,label\nfine,x\n" + "a" * (RECORD_BYTES + 5) + ",x\n",
        r"a\.csv:3: .*longer than 1,000,000",
    ),
    "long line in JSON": (
        "a.jsonl",
        '{"text": "' + "a" * RECORD_BYTES + '"}\n',
        r"a\.jsonl:1: .*longer than 1,000,000",
    ),
    "long record": ("a.csv", 'text,label\nfine,x\n"' + "lines\n" * 200_000, r"a\.csv:3: .*is a quote not closed"),
    "wrong ending": ("a.txt", "text,label\n", r"a\.txt: ends in '\.txt'; expected \.csv, \.tsv, \.jsonl"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_named_by_file_and_line(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    with pytest.raises(BadInputError, match=message):
        read_texts(written(tmp_path, name, content), Columns())


def test_an_id_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label,key\none,x,7\ntwo,x,8\nthree,x,7\n")
    with pytest.raises(BadInputError, match=r"a\.csv:4: id '7' stands in line 2 too"):
        read_texts(path, Columns(id="key"))


def test_a_record_without_its_group_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label,author\none,x,ann\ntwo,x,\n")
    with pytest.raises(BadInputError, match=r"a\.csv:3: has no group; expected one"):
        read_texts(path, Columns(group="author"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.csv: no such file"):
        read_texts(tmp_path / "none.csv", Columns())


def test_a_line_without_an_end_is_never_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(200_000_000)  # zeros, and no line end
    tracemalloc.start()
    with pytest.raises(BadInputError, match="longer than"):
        read_texts(path, Columns())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * RECORD_BYTES


def test_a_file_of_texts_is_told_from_other_tables_by_its_text_column(tmp_path: Path) -> None:
    assert is_text_file(written(tmp_path, "a.csv", "label,text\nx,hello\n"), Columns())
    assert is_text_file(written(tmp_path, "a.jsonl", '{"text": "hello"}\n'), Columns())
    assert not is_text_file(written(tmp_path, "b.csv", "path,label\na.png,x\n"), Columns())
    assert is_text_file(written(tmp_path, "b.csv", "path,label\na.png,x\n"), Columns(text="path"))
    assert not is_text_file(written(tmp_path, "c.npz", b"PK"), Columns())
    assert not is_text_file(written(tmp_path, "d.csv", ""), Columns())
