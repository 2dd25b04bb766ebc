"""`python -m benchmarks.online`."""

from benchmarks.online.online import main

if __name__ == "__main__":  # a pool's processes import this file again
    main()
