"""Every figure that README and docs state: `python -m benchmarks`.

The long forms are apart: `python -m benchmarks.torture` (a thousand jobs) and `python -m benchmarks.flat_cost` (a
million rows). So is what compares techniques: `benchmarks.matrix` (on nine models), `benchmarks.peers` (with the
peers' own routes), `benchmarks.backends`,
`benchmarks.onnx_low_bit`, `benchmarks.carried_state`, `benchmarks.prune_vs_torch_pruning`, `benchmarks.measure_noise`.
"""

from benchmarks import (
    blob_throughput,
    control_plane,
    demo_cnn,
    flat_cost,
    followers,
    overhead,
    pages,
    pollers,
    torture,
    transfer,
)

for benchmark in (
    demo_cnn,
    overhead,
    transfer,
    blob_throughput,
    control_plane,
    flat_cost,
    pollers,
    followers,
    pages,
    torture,
):
    print(f"\n== {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
