"""``python -m preprocess.demo``."""

from preprocess.demo import main

if __name__ == "__main__":
    main()
