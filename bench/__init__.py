"""`make bench`: how fast this is, beside BIRD, FRR and GoBGP in the same run.

One file per case under `cases`; `harness` runs their rounds interleaved, `measure` makes
figures of the samples, `contenders` are the receivers, `installers` those that fill the FIB too
(which `fib` witnesses), `sender` is what feeds them, `table` and `plot` show it all.
docs/bench.md has the method. Nothing here is imported by the daemon.
"""
