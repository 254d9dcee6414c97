"""Labs: coordinator client, placement, leases, and the virtual lab."""
