"""Every figure that README and docs state: `python -m benchmarks`."""

from benchmarks import demo_cnn, overhead, transfer

for benchmark in (demo_cnn, overhead, transfer):
    print(f"\n== {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
