"""The windows of the simulator's default features, as one would write them by hand: what the kernel is measured by."""
