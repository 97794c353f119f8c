"""The folder to ship: the chosen file with all that runs and proves it, and its check on another machine. No torch."""

from edgekd.bundle.manifest import read_manifest
from edgekd.bundle.place import recover
from edgekd.bundle.sample_files import again
from edgekd.bundle.verify import Check, Verified, verify
from edgekd.bundle.write import Bundled, write

__all__ = ["Bundled", "Check", "Verified", "again", "read_manifest", "recover", "verify", "write"]
