"""Table 1 of the paper, for whoever has the hardware: six kinds of training, twelve benchmarks, one table."""
