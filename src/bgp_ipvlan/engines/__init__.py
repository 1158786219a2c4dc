"""BGP engines behind the one port `ports.Engine`."""
