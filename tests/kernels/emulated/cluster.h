// Clusters of blocks; read after the defines of the kernel, which the rest is not to meet.
#pragma once

#if MAMBATS_CLUSTER > 1
DEVICE u32 cluster_rank() { return emulated::now->rank; }
DEVICE void store_remote(float4* place, u32 rank, float4 v, EMULATED_HERE) {
  emulated::store_far(place, rank, &v, sizeof v, site);
}
DEVICE void cluster_arrive(EMULATED_HERE) { emulated::arrive_cluster(site); }
DEVICE void cluster_wait(EMULATED_HERE) { emulated::wait_cluster(site); }
#else
DEVICE u32 cluster_rank() { return 0; }
DEVICE void store_remote(float4* place, u32, float4 v) { *place = v; }
DEVICE void cluster_arrive() {}
DEVICE void cluster_wait() {}
#endif
