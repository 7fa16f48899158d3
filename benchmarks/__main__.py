"""Every figure that README and docs state: `python -m benchmarks`."""

from benchmarks import blob_throughput, demo_cnn, overhead, transfer

for benchmark in (demo_cnn, overhead, transfer, blob_throughput):
    print(f"\n== {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
