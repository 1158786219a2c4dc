"""The demo: what a newcomer sees by `make demo`."""
