"""The causal convolution on NVIDIA's GPUs: CUDA C++ built at run time. Its doors are `op.cuda_conv` and `step`."""
