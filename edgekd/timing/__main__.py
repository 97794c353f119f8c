"""`python -m edgekd.timing`: the process that holds the sessions."""

import os
import sys

from edgekd.timing.child import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # ONNX Runtime's teardown with CUDA can crash after the answers are out
