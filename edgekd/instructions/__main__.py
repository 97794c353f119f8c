"""`python -m edgekd.instructions`: one counted run, in this process."""

import os
import sys

from edgekd.instructions.child import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what ONNX Runtime takes down at the end can crash after the answer is out
