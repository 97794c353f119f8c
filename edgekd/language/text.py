"""Text files, folders of them, or what documentation the installed Python brings -> one text."""

import ast
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edgekd.errors import BadInputError, EnvironmentFault, nearest

ENDINGS = (".txt", ".rst", ".md")
"""What is read of a folder."""

PLAIN = "utf-8-sig"
"""UTF-8; a byte order mark, which some editors write, is no part of the text."""

NOT_DOCUMENTED = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__", "turtledemo"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """content: all sources, one after the other, two newlines between. sources: as they were named."""

    content: str
    sources: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the content as UTF-8."""
        return sha256(self.content.encode()).hexdigest()


def read(sources: tuple[str, ...], *, most_characters: int | None = None) -> Text:
    """The text of all sources in their order, cut after `most_characters`.

    sources: files, folders (their .txt, .rst and .md, sorted), or names in `BUILTIN`.

    Raises:
        BadInputError: no such file, not UTF-8, or no text in it.
        EnvironmentFault: a built-in text is not installed with this Python.
    """
    content = "\n\n".join(_one(source) for source in sources)[:most_characters]
    if not content.strip():
        raise BadInputError(f"data.text {', '.join(sources)}: holds no text; expected characters to learn from")
    return Text(content=content, sources=sources)


def _one(source: str) -> str:
    if source in BUILTIN:
        return BUILTIN[source]()
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and file.is_file())
        if not files:
            raise BadInputError(f"data.text {path}: has no {', '.join(ENDINGS)} file; expected text in it")
        return "\n\n".join(_file(file) for file in files)
    if not path.is_file():
        raise BadInputError(
            f"data.text {path}: no such file{nearest(path.name, list(BUILTIN))}; expected a UTF-8 text file, a folder "
            f"of them, or one of: {', '.join(BUILTIN)}"
        )
    return _file(path)


def _file(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode(PLAIN)
    except UnicodeDecodeError as err:
        raise BadInputError(
            f"data.text {path}: byte {err.start} (0x{raw[err.start]:02x}) is no UTF-8; expected UTF-8 text: convert "
            "it, for example `iconv -f LATIN1 -t UTF-8`"
        ) from err
    if not text.strip():
        raise BadInputError(f"data.text {path}: is empty; expected text to learn from")
    return text


def _reference() -> str:
    """Python's language reference, as `help('topics')` shows it: pydoc_data/topics.py, some 0.7 million characters."""
    path = _library() / "pydoc_data" / "topics.py"
    if not path.is_file():
        raise EnvironmentFault(f"this Python lacks {path}; install its standard library whole, or name a text file")
    (topics,) = (node.value for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.Assign))
    told: Mapping[str, str] = ast.literal_eval(topics)
    return "\n\n".join(dict.fromkeys(told[name].strip() for name in sorted(told)))


def _docstrings() -> str:
    """Every docstring of the standard library, each once: some 1.6 million characters, ten seconds to collect."""
    found = dict.fromkeys(text for path in _modules() for text in _documented(path))
    return "\n\n".join(found)


def _modules() -> Iterator[Path]:
    library = _library()
    for path in sorted(library.rglob("*.py")):
        if not NOT_DOCUMENTED & set(path.relative_to(library).parts):
            yield path


def _documented(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in other people's strings
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # templates and Python 2 remains are no modules
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


BUILTIN: dict[str, Callable[[], str]] = {"python-reference": _reference, "python-docstrings": _docstrings}
"""Texts that come with every Python, read where they lie; another version of Python has another text."""
