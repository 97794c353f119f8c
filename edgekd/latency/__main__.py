"""`python -m edgekd.latency`: one round, in this process."""

import os
import sys

from edgekd.latency.child import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # ONNX Runtime's teardown with CUDA can crash after the answer is out
