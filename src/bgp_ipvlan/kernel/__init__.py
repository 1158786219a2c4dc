"""The kernel: links, routes, events. The only place that speaks netlink."""
