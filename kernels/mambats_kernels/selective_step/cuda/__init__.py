"""One token of the selective scan on NVIDIA's GPUs: CUDA C++ built at run time. Its door is `launch.cuda_step`."""
