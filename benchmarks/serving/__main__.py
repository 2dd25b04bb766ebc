"""`python -m benchmarks.serving`."""

from benchmarks.serving.serving import main

if __name__ == "__main__":  # a pool's processes import this file again
    main()
