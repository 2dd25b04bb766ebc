"""`python -m benchmarks.interleavings`."""

from benchmarks.interleavings.interleavings import main

if __name__ == "__main__":  # a pool's processes import this file again
    main()
