"""`python -m benchmarks.verdict_scale`."""

from benchmarks.verdict_scale.verdict_scale import main

if __name__ == "__main__":
    main()
