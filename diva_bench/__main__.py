"""`python -m diva_bench`, so that `accelerate launch -m diva_bench ...` works."""

from diva_bench.cli.main import main

if __name__ == "__main__":
    main()
