"""`python -m benchmarks.fuzz`."""

from benchmarks.fuzz.fuzz import main

if __name__ == "__main__":
    main()
