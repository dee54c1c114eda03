"""Kalman filters on NVIDIA's GPUs: CUDA C++ built at run time, one kernel for each size of state and measurement."""
