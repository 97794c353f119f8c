"""Open sessions that are timed in turns, a block at a time: what comparing two files on a noisy machine rests on.

`feeds` makes the inputs, `child` is the process that holds the sessions, `host` the parent's end of it, and `cycles`
the order of the blocks. `edgekd.latency` is the other way to time: rounds of fresh processes, for load time and memory.
"""

from edgekd.timing.cycles import Cycle, blocks_of, one_cycle, warm_up
from edgekd.timing.feeds import Feeds, Input, digest, feeds_for, inputs_of
from edgekd.timing.host import Block, Contestant, Host, Opened

__all__ = [
    "Block",
    "Contestant",
    "Cycle",
    "Feeds",
    "Host",
    "Input",
    "Opened",
    "blocks_of",
    "digest",
    "feeds_for",
    "inputs_of",
    "one_cycle",
    "warm_up",
]
