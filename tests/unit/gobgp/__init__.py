"""The GoBGP engine against a gobgpd that is made of Python, on a loop whose time stands still."""
