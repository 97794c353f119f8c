"""edgekd: from a teacher and data to a small student that is proved good enough to ship.

Data flows one way, and so does the reading order: `recipe` -> `data` -> `distill` (on `core`) -> `export` ->
`quantize` -> `accuracy` and `latency` (through `session`) -> `gate` -> `report` -> `bundle`. `pipeline` calls them
in that order and is the only module that takes a recipe apart. Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
