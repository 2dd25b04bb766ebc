"""`python -m benchmarks.registry_load`."""

from benchmarks.registry_load.registry_load import main

if __name__ == "__main__":  # a pool's processes import this file again
    main()
