"""Hosts, foreign BGP speakers, real Dockers and an ipvlan kernel, for tests and the demo."""
