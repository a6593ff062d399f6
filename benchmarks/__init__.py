"""Benchmarks of uner3d against its peers: `python -m benchmarks.bench_<op>` from the repository root."""
