"""``make bench``: every figure of the README, one after the other."""

from bench import figures, flush, masker, spawn

if __name__ == "__main__":
    for part in (flush, masker, spawn, figures):
        print(f"── {part.__name__}")
        part.main()
