"""The front door: what dockerd calls over the plugin socket."""
