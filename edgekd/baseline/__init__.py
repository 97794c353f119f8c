"""Earlier measurements kept in a folder or on a git branch, and new ones judged against them.

`document` reads what can be kept, `key` says where, `folder` and `branch` (by `git`) keep it; `same` refuses what
cannot be compared, `unpaired` has the intervals of two sessions, `judge` the verdict, and `compare` does it all.
"""

from edgekd.baseline.branch import BranchStore, open_branch
from edgekd.baseline.compare import DEFAULT_LIMITS, compare, entry, save
from edgekd.baseline.document import Document, parse, read
from edgekd.baseline.folder import FolderStore
from edgekd.baseline.judge import JUDGES
from edgekd.baseline.key import Key
from edgekd.baseline.store import Store, Written

__all__ = [
    "DEFAULT_LIMITS",
    "JUDGES",
    "BranchStore",
    "Document",
    "FolderStore",
    "Key",
    "Store",
    "Written",
    "compare",
    "entry",
    "open_branch",
    "parse",
    "read",
    "save",
]
