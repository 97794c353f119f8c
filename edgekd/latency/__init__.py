"""ONNX files on a target -> how fast each is: rounds of fresh processes, interleaved.

`rounds` is the parent, `child` what runs in each process: it reads one JSON request from standard input and writes one
JSON answer, so that load time, first inference and peak memory are those of a process that did nothing else.
"""

from edgekd.latency.child import MAX_SAMPLES, Round, time_runs
from edgekd.latency.rounds import Latency, measure, run_round, summarise

__all__ = ["MAX_SAMPLES", "Latency", "Round", "measure", "run_round", "summarise", "time_runs"]
