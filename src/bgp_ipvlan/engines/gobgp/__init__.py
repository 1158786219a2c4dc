"""A gobgpd as engine (D1): `api` asks it, `engine` makes a `ports.Engine` of it."""
