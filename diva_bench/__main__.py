"""`python -m diva_bench`, so that `torchrun -m diva_bench ...` and `accelerate launch -m diva_bench ...` work."""

from diva_bench.cli.main import main

if __name__ == "__main__":
    main()
