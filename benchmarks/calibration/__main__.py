"""`python -m benchmarks.calibration`."""

from benchmarks.calibration.calibration import main

if __name__ == "__main__":  # a pool's processes import this file again
    main()
