"""GoBGP's messages, as far as they are used; *_pb2.py are made from the .proto files (hatch_build.py)."""
