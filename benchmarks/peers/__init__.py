"""Parts of `benchmarks.quantize_peers`: nets and data, each tool as a process of its own, what is measured of them."""
